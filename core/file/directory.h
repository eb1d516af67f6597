// SPDX-License-Identifier: BSD-2-Clause
// Files that are open directories.
#pragma once
#include "core/file/file.h"

extern const struct file_ops directory_ops; // file->node is the directory
// Its seek method: from the start or from where it is, for files without an end of their own.
int64_t directory_seek(struct file *file, int64_t offset, int whence);
