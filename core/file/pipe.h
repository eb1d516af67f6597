// SPDX-License-Identifier: BSD-2-Clause
// Pipes.
#pragma once
#include <stdint.h>
#include "core/file/file.h"

// Makes both ends. 0 or -ENOMEM.
int pipe_create(uint32_t flags, struct file **reader, struct file **writer);
// F_GETPIPE_SZ, F_SETPIPE_SZ. Size or -errno.
int64_t pipe_size_command(struct file *file, int command, uint64_t size);
