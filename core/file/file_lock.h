// SPDX-License-Identifier: BSD-2-Clause
// Advisory record locks of fcntl(2): POSIX locks belong to a process (its fd table), OFD locks to
// an open file.
#pragma once
#include <linux/fcntl.h>
#include "core/file/file.h"
#include "core/file/node.h"

// command: F_GETLK, F_SETLK, F_SETLKW or their F_OFD_ forms; lock as copied from the user, changed
// by GETLK. 0 or -errno; may wait.
int file_lock_command(struct file *file, int command, struct flock *lock);
// An fd of this file was closed by the owner (an fd table), or the open file itself (owner: the
// file) goes away.
void file_locks_drop(struct node *node, const void *owner);
void file_locks_free(struct node *node); // with the node
