// SPDX-License-Identifier: BSD-2-Clause
// Reading and writing generated text.
#include "core/file/text_file.h"
#include <linux/errno.h>
#include "core/file/directory.h"
#include "core/file/io_buffer.h"
#include "core/file/node.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/string.h"

void text_add(struct text *text, const char *format, ...) {
    size_t at = text->length < text->size ? text->length : text->size;
    va_list arguments;
    va_start(arguments, format);
    text->length += (size_t)format_string_v(text->to + at, text->size - at, format, arguments);
    va_end(arguments);
}

// The whole text, in a heap buffer large enough; its length or -errno.
static int64_t make_text(const struct node *node, char **to) {
    for (size_t size = PAGE_SIZE;; size *= 4) {
        struct text text = {.to = *to = heap_alloc(size), .size = size};
        int error = *to ? node->text->show(node->object, &text) : -ENOMEM;
        if (error || text.length < size)
            return error ? error : (int64_t)text.length;
        if (size >= TEXT_FILE_MAX)
            return (int64_t)size - 1;
        heap_free(*to);
    }
}

// The text is made afresh for each read, so one read that takes all sees one state.
static int64_t text_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    uint64_t at = *offset;
    size_t before = io_remaining(buffer);
    char *text = NULL;
    int64_t length = file->node->text->show ? make_text(file->node, &text) : -EINVAL;
    int64_t result = length < 0 ? length : 0;
    if (!result && at < (uint64_t)length) {
        size_t rest = (size_t)length - at;
        result =
            io_result(buffer, before, io_copy_to(buffer, text + at, rest < before ? rest : before));
    }
    heap_free(text);
    return result;
}

static int64_t text_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    const struct node *node = file->node;
    size_t size = io_remaining(buffer);
    if (!node->text->store)
        return -EINVAL;
    if (size >= PAGE_SIZE)
        return -E2BIG;
    char *text = heap_alloc(PAGE_SIZE);
    if (!text)
        return -ENOMEM;
    int64_t error = io_copy_from(buffer, text, size);
    size_t length = size;
    while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
        length--;
    text[length] = 0;
    if (!error)
        error = node->text->store(node->object, text);
    heap_free(text);
    return error ? error : (int64_t)size;
}

const struct file_ops text_file_ops = {
    .name = "text",
    .read = text_read,
    .write = text_write,
    .seek = directory_seek,
};

int text_file_add(struct node *directory, const struct text_file *text, void *object) {
    struct node *node = node_create(S_IFREG | (text->show ? 0444 : 0) | (text->store ? 0200 : 0));
    if (!node && text->release)
        text->release(object);
    if (!node)
        return -ENOMEM;
    node->text = text;
    node->object = object;
    int error = directory_add(directory, text->name, strlen(text->name), node);
    node_put(node);
    return error;
}

bool text_number(const char **text, uint64_t *number) {
    const char *at = *text;
    *number = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*number, 10ul, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
            return false;
    bool any = at != *text;
    *text = at;
    return any;
}

enum { LIST_CPUS = 256 };

static bool has_cpu(const uint64_t cpus[4], unsigned cpu) {
    return cpu < LIST_CPUS && cpus[cpu / 64] >> cpu % 64 & 1;
}

int text_cpu_list(struct text *text, const uint64_t cpus[4]) {
    const char *comma = "";
    for (unsigned first = 0; first < LIST_CPUS; first++) {
        if (!has_cpu(cpus, first))
            continue;
        unsigned last = first;
        while (has_cpu(cpus, last + 1))
            last++;
        text_add(text, last > first ? "%s%u-%u" : "%s%u", comma, first, last);
        first = last;
        comma = ",";
    }
    text_add(text, "\n");
    return 0;
}

int text_cpu_list_parse(const char *text, uint64_t cpus[4]) {
    memset(cpus, 0, 4 * sizeof *cpus);
    while (*text) {
        uint64_t first, last;
        if (!text_number(&text, &first))
            return -EINVAL;
        last = first;
        if (*text == '-') {
            text++;
            if (!text_number(&text, &last))
                return -EINVAL;
        }
        if (last < first || last >= LIST_CPUS || (*text && *text != ','))
            return -EINVAL;
        for (; first <= last; first++)
            cpus[first / 64] |= 1ull << first % 64;
        text += *text == ',';
    }
    return 0;
}
