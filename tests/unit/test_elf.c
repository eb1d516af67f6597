// SPDX-License-Identifier: BSD-2-Clause
// What the ELF loader accepts and refuses.
#include "core/process/elf.h"
#include <asm/errno.h>
#include <check.h>
#include <linux/elf.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT     0x00007ffffffff000ull
#define FILE_SIZE 0x3000u

Suite *elf_suite(void);

struct image {
    Elf64_Ehdr header;
    Elf64_Phdr segment[3];
    char rest[ELF_HEADER_MAX - sizeof(Elf64_Ehdr) - 3 * sizeof(Elf64_Phdr)];
};

static struct image image;
static struct elf_program program;

static void make_image(void) {
    memset(&image, 0, sizeof image);
    memcpy(image.header.e_ident, ELFMAG, SELFMAG);
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_ident[EI_DATA] = ELFDATA2LSB;
    image.header.e_type = ET_EXEC;
    image.header.e_machine = EM_X86_64;
    image.header.e_entry = 0x401000;
    image.header.e_phoff = sizeof(Elf64_Ehdr);
    image.header.e_phentsize = sizeof(Elf64_Phdr);
    image.header.e_phnum = 3;
    image.segment[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                    .p_flags = PF_R,
                                    .p_vaddr = 0x400000,
                                    .p_filesz = 0x200,
                                    .p_memsz = 0x200};
    image.segment[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                                    .p_flags = PF_R | PF_X,
                                    .p_offset = 0x1000,
                                    .p_vaddr = 0x401000,
                                    .p_filesz = 0x1000,
                                    .p_memsz = 0x1000};
    image.segment[2] = (Elf64_Phdr){.p_type = PT_LOAD,
                                    .p_flags = PF_R | PF_W,
                                    .p_offset = 0x2010,
                                    .p_vaddr = 0x403010,
                                    .p_filesz = 0x10,
                                    .p_memsz = 0x5000};
}

static int parse(void) {
    return elf_parse(&image, sizeof image, FILE_SIZE, LIMIT, &program);
}

START_TEST(good_program) {
    ck_assert_int_eq(parse(), 0);
    ck_assert(!program.relocatable);
    ck_assert_uint_eq(program.entry, 0x401000);
    ck_assert_uint_eq(program.header_address, 0x400000 + sizeof(Elf64_Ehdr));
    ck_assert_uint_eq(program.header_count, 3);
    ck_assert_uint_eq(program.start, 0x400000);
    ck_assert_uint_eq(program.end, 0x409000);
    ck_assert_uint_eq(program.segment_count, 3);
    ck_assert(program.segments[2].write && !program.segments[2].execute);
    ck_assert(program.segments[1].execute && !program.segments[1].write);
    ck_assert_uint_eq(program.interpreter_size, 0);
}
END_TEST

START_TEST(relocatable_with_interpreter) {
    image.header.e_type = ET_DYN;
    image.segment[0].p_type = PT_INTERP;
    image.segment[0].p_offset = 0x300;
    image.segment[0].p_filesz = 28;
    ck_assert_int_eq(parse(), 0);
    ck_assert(program.relocatable);
    ck_assert_uint_eq(program.interpreter_offset, 0x300);
    ck_assert_uint_eq(program.interpreter_size, 28);
    ck_assert_uint_eq(program.header_address, 0);
}
END_TEST

static void break_image(unsigned how) {
    Elf64_Phdr *code = &image.segment[1];
    switch (how) {
    case 0:
        image.header.e_ident[0] = 'X';
        break;
    case 1:
        image.header.e_ident[EI_CLASS] = ELFCLASS32;
        break;
    case 2:
        image.header.e_machine = EM_386;
        break;
    case 3:
        image.header.e_type = ET_REL;
        break;
    case 4:
        image.header.e_phnum = 0;
        break;
    case 5:
        image.header.e_phnum = 0xffff;
        break;
    case 6:
        image.header.e_phoff = ~0ull;
        break;
    case 7:
        image.header.e_phentsize = 32;
        break;
    case 8:
        code->p_filesz = code->p_memsz + 1;
        break;
    case 9:
        code->p_offset = FILE_SIZE + 0x1000;
        break;
    case 10:
        code->p_filesz = code->p_memsz = ~0ull;
        break;
    case 11:
        code->p_vaddr = LIMIT & ~0xfffull;
        break;
    case 12:
        code->p_vaddr = 0xffffffff80001000ull;
        break;
    case 13:
        code->p_offset += 8;
        break;
    case 14:
        image.segment[2].p_vaddr = 0x400010; // out of order
        break;
    case 15:
        image.header.e_entry = 0x10000;
        break;
    default:
        image.segment[0].p_type = image.segment[1].p_type = image.segment[2].p_type = PT_NULL;
    }
}

START_TEST(bad_programs) {
    for (unsigned how = 0; how <= 16; how++) {
        make_image();
        break_image(how);
        ck_assert_msg(parse() == -ENOEXEC, "case %u was accepted", how);
    }
}
END_TEST

START_TEST(truncated) {
    for (size_t size = 0; size < sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr); size += 7) {
        void *part = malloc(size ? size : 1);
        memcpy(part, &image, size);
        ck_assert_int_eq(elf_parse(part, size, FILE_SIZE, LIMIT, &program), -ENOEXEC);
        free(part);
    }
}
END_TEST

Suite *elf_suite(void) {
    Suite *suite = suite_create("elf");
    TCase *tests = tcase_create("elf");
    tcase_add_checked_fixture(tests, make_image, NULL);
    tcase_add_test(tests, good_program);
    tcase_add_test(tests, relocatable_with_interpreter);
    tcase_add_test(tests, bad_programs);
    tcase_add_test(tests, truncated);
    suite_add_tcase(suite, tests);
    return suite;
}
