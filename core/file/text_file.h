// SPDX-License-Identifier: BSD-2-Clause
// Files whose text is made when they are read and that are written to give orders, as in Linux's
// cgroupfs, procfs and sysfs.
#pragma once
#include <stddef.h>
#include "core/file/file.h"

struct node;

enum { TEXT_FILE_MAX = 64 << 10 }; // bytes of text that can be read

// A text under way. What does not fit is counted, so that the reader comes with more room.
struct text {
    char *to;
    size_t size, length;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct text_file {
    const char *name;
    // Adds the text. 0 or -errno. NULL: -EINVAL.
    int (*show)(void *object, struct text *text);
    // Obeys one write: its text without the newline, terminated, may be changed. 0 or -errno. NULL:
    // -EINVAL.
    int (*store)(void *object, char *text);
    void (*release)(void *object); // the file is gone; NULL: nothing to do
};

extern const struct file_ops text_file_ops; // file->node->text is what it does

// Names a new one; `object` is what its methods get, released by it in any case. 0 or -errno.
int text_file_add(struct node *directory, const struct text_file *text, void *object);
// The number at *text in decimal, *text then behind it; false: there is none, or it is too large.
bool text_number(const char **text, uint64_t *number);
// A list of CPUs as Linux writes them, "0-2,5\n"; none is "\n". 0, for `show`.
int text_cpu_list(struct text *text, const uint64_t cpus[4]);
// The same read, without the newline. 0 or -EINVAL.
int text_cpu_list_parse(const char *text, uint64_t cpus[4]);
