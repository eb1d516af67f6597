// SPDX-License-Identifier: BSD-2-Clause
// A new program's stack: argument and environment strings, the auxiliary vector, and argc, argv and
// envp below (System V ABI, x86-64 supplement, 3.4.1).
#include <asm/errno.h>
#include <linux/auxvec.h>
#include <linux/mman.h>
#include <stddef.h>
#include <cpuid.h>
#include "arch/x86/cpu/cpu_features.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/process/exec_image.h"
#include "core/process/random.h"
#include "core/process/signal_frame.h"
#include "core/process/space_write.h"
#include "core/string.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define STACK_SIZE (8ull << 20)
#define STACK_TOP                                                                                  \
    (USER_END - PAGE_SIZE) // a page that is never mapped stands above; mmap stays 1 GiB below
#define CLOCK_TICKS     100
#define AUXILIARY_MAX   24
#define HWCAP2_FSGSBASE 2u

struct stack_writer {
    struct address_space *space;
    uint64_t at; // next write ends here
    int error;
};

static uint64_t push(struct stack_writer *writer, const void *data, size_t size, uint64_t align) {
    writer->at = (writer->at - size) & ~(align - 1);
    if (!writer->error)
        writer->error = space_write(writer->space, writer->at, data, size);
    return writer->at;
}

static uint32_t hwcap(void) {
    uint32_t eax, ebx, ecx, edx;
    __cpuid(1, eax, ebx, ecx, edx);
    return edx;
}

struct auxiliary {
    uint64_t type, value;
};

static unsigned make_auxiliary(struct auxiliary *out, const struct exec_image *image,
                               uint64_t random, uint64_t platform, uint64_t filename) {
    const struct auxiliary vector[] = {
        {AT_SYSINFO_EHDR, image->vdso},
        {AT_PHDR, image->header_address},
        {AT_PHENT, image->header_size},
        {AT_PHNUM, image->header_count},
        {AT_PAGESZ, PAGE_SIZE},
        {AT_BASE, image->interpreter_base},
        {AT_FLAGS, 0},
        {AT_ENTRY, image->program_entry},
        {AT_UID, 0},
        {AT_EUID, 0},
        {AT_GID, 0},
        {AT_EGID, 0},
        {AT_SECURE, 0},
        {AT_HWCAP, hwcap()},
        {AT_HWCAP2, cpu_features.fsgsbase ? HWCAP2_FSGSBASE : 0},
        {AT_CLKTCK, CLOCK_TICKS},
        {AT_MINSIGSTKSZ, signal_frame_size()},
        {AT_RANDOM, random},
        {AT_PLATFORM, platform},
        {AT_EXECFN, filename},
        {AT_NULL, 0},
    };
    _Static_assert(sizeof vector <= AUXILIARY_MAX * sizeof *vector, "room");
    memcpy(out, vector, sizeof vector);
    return sizeof vector / sizeof *vector;
}

// argc, argv[], NULL, envp[], NULL, auxv: built in kernel memory and written at once.
static int push_vectors(struct stack_writer *writer, const struct exec_image *image,
                        const struct exec_arguments *arguments, uint64_t strings, uint64_t random,
                        uint64_t platform, uint64_t filename) {
    size_t pointers = 1 + arguments->argc + 1 + arguments->envc + 1;
    size_t size = pointers * 8 + AUXILIARY_MAX * sizeof(struct auxiliary);
    uint64_t *vector = heap_alloc(size);
    if (!vector)
        return -ENOMEM;
    size_t n = 0, offset = 0;
    vector[n++] = arguments->argc;
    for (uint32_t i = 0; i < arguments->argc + arguments->envc; i++) {
        if (i == arguments->argc)
            vector[n++] = 0;
        vector[n++] = strings + offset;
        offset += strlen(arguments->strings + offset) + 1;
    }
    if (!arguments->envc)
        vector[n++] = 0;
    vector[n++] = 0;
    unsigned count =
        make_auxiliary((struct auxiliary *)(vector + n), image, random, platform, filename);
    push(writer, vector, n * 8 + count * sizeof(struct auxiliary), 16);
    heap_free(vector);
    return writer->error;
}

int exec_image_stack(struct exec_image *image, const char *path,
                     const struct exec_arguments *arguments) {
    static const char platform_name[] = "x86_64";
    struct stack_writer writer = {.space = image->space, .at = STACK_TOP};
    int64_t mapped =
        address_space_map(image->space, STACK_TOP - STACK_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_STACK, NULL, 0);
    if (mapped < 0)
        return (int)mapped;
    uint8_t random_data[16];
    random_bytes(random_data, sizeof random_data);
    uint64_t filename = push(&writer, path, strlen(path) + 1, 1);
    uint64_t strings = push(&writer, arguments->strings, arguments->size, 1);
    uint64_t platform = push(&writer, platform_name, sizeof platform_name, 1);
    uint64_t random = push(&writer, random_data, sizeof random_data, 16);
    int error = writer.error
                    ? writer.error
                    : push_vectors(&writer, image, arguments, strings, random, platform, filename);
    image->stack_pointer = writer.at;
    return error;
}
