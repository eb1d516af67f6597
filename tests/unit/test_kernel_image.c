// SPDX-License-Identifier: BSD-2-Clause
// The loader's checks of kernel.elf.
#include "boot/kernel_image.h"
#include "boot/boot_info.h"
#include <check.h>
#include <linux/elf.h>
#include <stdlib.h>
#include <string.h>

struct file {
    Elf64_Ehdr header;
    Elf64_Phdr segment[2];
    uint8_t text[64], data[32];
    Elf64_Shdr section;
};

static struct file good(void) {
    struct file file = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_entry = KERNEL_BASE + 8,
                   .e_phoff = offsetof(struct file, segment),
                   .e_shoff = offsetof(struct file, section),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 2,
                   .e_shentsize = sizeof(Elf64_Shdr),
                   .e_shnum = 1},
        .segment = {{.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_X,
                     .p_offset = offsetof(struct file, text),
                     .p_vaddr = KERNEL_BASE,
                     .p_filesz = 64,
                     .p_memsz = 64},
                    {.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_W,
                     .p_offset = offsetof(struct file, data),
                     .p_vaddr = KERNEL_BASE + 0x1000,
                     .p_paddr = 0x1000,
                     .p_filesz = 32,
                     .p_memsz = 0x2001}},
    };
    memset(file.text, 0x90, sizeof(file.text));
    memset(file.data, 0x11, sizeof(file.data));
    return file;
}

static struct kernel_image image;

// Checks a copy of exactly SIZE bytes, so that a read beyond the end is found.
static const char *check(const struct file *file, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, file, size);
    const char *reason = kernel_image_check(copy, size, &image);
    free(copy);
    return reason;
}

static void assert_refused(const struct file *file, const char *words) {
    const char *reason = check(file, sizeof(*file));
    ck_assert_ptr_nonnull(reason);
    ck_assert_msg(strstr(reason, words) != NULL, "reason is: %s", reason);
}

START_TEST(loads) {
    struct file file = good();
    ck_assert_ptr_null(check(&file, sizeof(file)));
    ck_assert_uint_eq(image.size, 0x4000);
    ck_assert_uint_eq(image.entry, KERNEL_BASE + 8);
    uint8_t *memory = malloc(image.size);
    memset(memory, 0xcc, image.size);
    kernel_image_load((const uint8_t *)&file, &image, memory);
    ck_assert_int_eq(memory[63], 0x90);
    ck_assert_int_eq(memory[64], 0);
    ck_assert_int_eq(memory[0x101f - 0], 0x11);
    ck_assert_int_eq(memory[0x1020], 0);
    ck_assert_int_eq(memory[image.size - 1], 0);
    free(memory);
}
END_TEST

START_TEST(every_truncation_is_found) {
    struct file file = good();
    for (size_t size = 0; size < sizeof(file); size++)
        ck_assert_ptr_nonnull(check(&file, size));
}
END_TEST

START_TEST(other_files) {
    struct file file = good();
    memcpy(file.header.e_ident, "MZ\x90", 4);
    assert_refused(&file, "not an ELF file");
    file = good();
    file.header.e_ident[EI_CLASS] = ELFCLASS32;
    assert_refused(&file, "64-bit");
    file = good();
    file.header.e_machine = 183;
    assert_refused(&file, "another processor");
    file = good();
    file.header.e_type = ET_DYN;
    assert_refused(&file, "static executable");
    file = good();
    file.segment[1].p_type = PT_INTERP;
    assert_refused(&file, "static executable");
}
END_TEST

START_TEST(damaged) {
    struct file file = good();
    file.header.e_phoff = UINT64_MAX - 7;
    assert_refused(&file, "truncated");
    file = good();
    file.segment[0].p_offset = UINT64_MAX - 3;
    assert_refused(&file, "truncated");
    file = good();
    file.segment[0].p_filesz = 65;
    assert_refused(&file, "larger in the file");
    file = good();
    file.segment[0].p_vaddr = 0x400000;
    assert_refused(&file, "address range");
    file = good();
    file.segment[1].p_memsz = UINT64_MAX - 0xfff;
    assert_refused(&file, "address range");
    file = good();
    file.segment[1].p_vaddr = KERNEL_BASE + 32;
    assert_refused(&file, "overlap");
    file = good();
    file.segment[1].p_paddr = 0x5000;
    assert_refused(&file, "contiguous");
    file = good();
    file.header.e_entry = KERNEL_BASE + 0x1000;
    assert_refused(&file, "entry point");
    file = good();
    file.segment[0].p_type = file.segment[1].p_type = PT_NOTE;
    assert_refused(&file, "nothing to load");
}
END_TEST

Suite *kernel_image_suite(void) {
    Suite *suite = suite_create("kernel image");
    TCase *tests = tcase_create("check");
    tcase_add_test(tests, loads);
    tcase_add_test(tests, every_truncation_is_found);
    tcase_add_test(tests, other_files);
    tcase_add_test(tests, damaged);
    suite_add_tcase(suite, tests);
    return suite;
}
