// SPDX-License-Identifier: BSD-2-Clause
// Regular files: content in the initrd until written, then in a memory object; memfds are regular
// files without a name.
#pragma once
#include <stdint.h>
#include "core/file/file.h"
#include "core/file/node.h"

extern const struct file_ops regular_file_ops; // file->object is file->node

uint64_t regular_size(struct node *node); // bytes
// Makes the content writable: copies it out of the initrd the first time. 0 or -ENOMEM. May take
// long (preemption points).
int regular_make_writable(struct node *node);
int regular_truncate(struct node *node, uint64_t size); // 0, -EPERM (sealed), -ENOMEM, -EFBIG
// fallocate(2) modes 0, FALLOC_FL_KEEP_SIZE, and FALLOC_FL_PUNCH_HOLE with it. 0 or -errno.
int regular_allocate(struct node *node, int mode, uint64_t offset, uint64_t size);
int regular_add_seals(struct file *file, uint32_t seals); // F_ADD_SEALS: 0, -EPERM, -EBUSY
