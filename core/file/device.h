// SPDX-License-Identifier: BSD-2-Clause
// Device nodes the file system has of its own, and the numbers programs know devices by.
#pragma once
#include <stdint.h>

void devices_init(void); // registers /dev/null, zero, full, random, urandom, console, tty
// st_rdev of a well-known device path; 0 for others.
uint32_t device_number(const char *path);
