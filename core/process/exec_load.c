// SPDX-License-Identifier: BSD-2-Clause
// Mapping an ELF program's segments into a new address space.
#include <asm/errno.h>
#include <asm/stat.h>
#include <linux/mman.h>
#include <linux/stat.h>
#include <stddef.h>
#include "core/file/file.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/process/elf.h"
#include "core/process/exec_image.h"
#include "core/process/space_write.h"
#include "core/process/vdso/vdso.h"
#include "core/string.h"

// Where relocatable programs and their interpreter go. Fixed: a run repeats exactly, and there is
// no fork server to protect whose children would share a secret layout.
#define PROGRAM_BASE     0x0000555555554000ull
#define INTERPRETER_BASE 0x00007fffe0000000ull
#define PATH_LIMIT       256u

struct image_file {
    struct file *file;
    uint64_t size;
    struct elf_program program;
};

static int map_file(struct file *file, uint64_t offset, uint64_t size, int prot,
                    struct memory_object **object, uint64_t *object_offset) {
    if (!file->ops->map)
        return -EACCES;
    return file->ops->map(file, offset, size, prot, MAP_PRIVATE, object, object_offset);
}

// Reads file content through its pages. Bytes beyond the end read as 0.
static int read_file(struct file *file, uint64_t offset, void *to, size_t size) {
    struct memory_object *object;
    uint64_t start = offset & PAGE_MASK, base;
    int error = map_file(file, start, (offset + size - start + PAGE_SIZE - 1) & PAGE_MASK,
                         PROT_READ, &object, &base);
    if (error)
        return error;
    for (size_t done = 0; done < size && !error;) {
        uint64_t at = base + (offset - start) + done, physical;
        unsigned order = 0;
        size_t in_page = at % PAGE_SIZE, piece = PAGE_SIZE - in_page;
        if (piece > size - done)
            piece = size - done;
        error = object->ops->page(object, at / PAGE_SIZE, &physical, &order);
        if (!error) {
            memcpy((char *)to + done, (char *)page_to_virtual(physical) + in_page, piece);
            page_put(physical);
        }
        done += piece;
    }
    memory_object_put(object);
    return error;
}

static int open_image(const char *path, struct image_file *image) {
    int error = 0;
    struct stat status;
    image->file = path_open(path, OPEN_TO_EXECUTE, 0, &error);
    if (!image->file)
        return error;
    error = file_status(image->file, &status);
    if (!error && !S_ISREG(status.st_mode))
        error = -EACCES;
    image->size = error ? 0 : (uint64_t)status.st_size;
    size_t head = image->size < ELF_HEADER_MAX ? image->size : ELF_HEADER_MAX;
    char *buffer = heap_alloc(ELF_HEADER_MAX);
    if (!buffer)
        error = -ENOMEM;
    if (!error && !head)
        error = -ENOEXEC;
    if (!error)
        error = read_file(image->file, 0, buffer, head);
    if (!error)
        error = elf_parse(buffer, head, image->size, USER_END, &image->program);
    heap_free(buffer);
    if (error)
        file_put(image->file);
    return error;
}

static int segment_protection(const struct elf_segment *segment) {
    return (segment->read ? PROT_READ : 0) | (segment->write ? PROT_WRITE : 0) |
           (segment->execute ? PROT_EXEC : 0);
}

static int map_segment(struct address_space *space, struct file *file,
                       const struct elf_segment *segment, uint64_t base) {
    uint64_t address = base + segment->address, start = address & PAGE_MASK;
    uint64_t file_end = address + segment->file_size, end = address + segment->memory_size;
    uint64_t mapped_end = start;
    int prot = segment_protection(segment);
    if (segment->file_size) {
        struct memory_object *object;
        uint64_t offset = segment->file_offset & PAGE_MASK, object_offset;
        uint64_t size = (file_end - start + PAGE_SIZE - 1) & PAGE_MASK;
        int error = map_file(file, offset, size, prot, &object, &object_offset);
        if (error)
            return error;
        int64_t result = address_space_map(space, start, size, prot, MAP_PRIVATE | MAP_FIXED,
                                           object, object_offset);
        memory_object_put(object);
        if (result < 0)
            return (int)result;
        mapped_end = start + size;
    }
    // The rest of the last file page belongs to the segment when there is memory beyond the file
    // content.
    if (end > file_end && mapped_end > file_end && segment->write) {
        int error = space_clear(space, file_end, mapped_end - file_end);
        if (error)
            return error;
    }
    uint64_t last = (end + PAGE_SIZE - 1) & PAGE_MASK;
    if (last <= mapped_end)
        return 0;
    int64_t result = address_space_map(space, mapped_end, last - mapped_end, prot,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0);
    return result < 0 ? (int)result : 0;
}

static int map_program(struct address_space *space, const struct image_file *image, uint64_t base) {
    const struct elf_program *program = &image->program;
    if (program->end > USER_END - base || program->start + base < 0x10000)
        return -ENOEXEC;
    for (unsigned i = 0; i < program->segment_count; i++) {
        int error = map_segment(space, image->file, &program->segments[i], base);
        if (error)
            return error;
    }
    return 0;
}

static int load_interpreter(struct exec_image *image, const char *path) {
    struct image_file *interpreter = heap_new(struct image_file);
    if (!interpreter)
        return -ENOMEM;
    int error = open_image(path, interpreter);
    if (!error) {
        uint64_t base = interpreter->program.relocatable ? INTERPRETER_BASE : 0;
        error = interpreter->program.interpreter_size
                    ? -ELIBBAD
                    : map_program(image->space, interpreter, base);
        image->interpreter_base = base;
        image->entry = base + interpreter->program.entry;
        file_put(interpreter->file);
    }
    heap_free(interpreter);
    return error;
}

static int load_program(struct exec_image *image, struct image_file *file) {
    const struct elf_program *program = &file->program;
    uint64_t base = program->relocatable ? PROGRAM_BASE - program->start : 0;
    char interpreter[PATH_LIMIT];
    int error = 0;
    if (program->interpreter_size) {
        if (program->interpreter_size > sizeof interpreter)
            return -ENOEXEC;
        error = read_file(file->file, program->interpreter_offset, interpreter,
                          program->interpreter_size);
        if (!error && interpreter[program->interpreter_size - 1])
            error = -ENOEXEC;
    }
    if (!error)
        error = map_program(image->space, file, base);
    if (error)
        return error;
    image->entry = image->program_entry = base + program->entry;
    image->header_address = program->header_address ? base + program->header_address : 0;
    image->header_count = program->header_count;
    image->header_size = program->header_size;
    image->space->brk_start = image->space->brk_end = base + program->end;
    if (program->interpreter_size)
        error = load_interpreter(image, interpreter);
    return error ? error : vdso_map(image->space, &image->vdso);
}

int exec_image_load(struct exec_image *image, const char *path) {
    struct image_file *file = heap_new(struct image_file);
    if (!file)
        return -ENOMEM;
    int error = open_image(path, file);
    if (!error) {
        error = load_program(image, file);
        file_put(file->file);
    }
    heap_free(file);
    return error;
}
