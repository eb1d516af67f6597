// SPDX-License-Identifier: BSD-2-Clause
// Device nodes the file system has of its own.
#pragma once

void devices_init(void); // registers /dev/null, zero, full, random, urandom, console, tty
