// SPDX-License-Identifier: BSD-2-Clause
// Memory that a peer shares and may take away at any time by shortening its file: what is gone
// reads as zeros then, and this program lives on.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Catches SIGBUS. Once, before the first mapping.
void shared_mapping_init(void);

// Maps the first size bytes of a file, for reading and writing. *lost becomes true once a part is
// touched that is gone. MAP_FAILED with errno set; EFBIG where the file is shorter.
void *shared_mapping_create(int fd, size_t size, bool *lost);
void shared_mapping_destroy(void *mapping, size_t size);
