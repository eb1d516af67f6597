// SPDX-License-Identifier: BSD-2-Clause
// Files that are open directories.
#pragma once
#include "core/file/file.h"

extern const struct file_ops directory_ops; // file->node is the directory
