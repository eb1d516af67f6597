// SPDX-License-Identifier: BSD-2-Clause
// The fds of a process; shared by its threads.
#pragma once
#include <stdbool.h>
#include "core/file/file.h"

struct fd_table;
struct fd_table *fd_table_create(void);                      // NULL: no memory
struct fd_table *fd_table_clone(const struct fd_table *table); // for vfork/clone without CLONE_FILES
void fd_table_get(struct fd_table *table);
void fd_table_put(struct fd_table *table);                   // closes all with the last reference; may wait
void fd_table_close_on_exec(struct fd_table *table);
