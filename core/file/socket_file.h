// SPDX-License-Identifier: BSD-2-Clause
// From an fd to its socket.
#pragma once
#include "core/file/file.h"
#include "core/file/unix_socket.h"

// With a reference on *file (file_put). NULL with *error: -EBADF, -ENOTSOCK.
struct unix_socket *socket_get(int fd, struct file **file, int *error);
