// SPDX-License-Identifier: BSD-2-Clause
// The S_IF* bits of st_mode (inode(7)).
#pragma once
#include <linux/stat.h>

// <linux/stat.h> hides them where it sees glibc, as on the build host of the unit tests.
#ifndef S_IFMT
#define S_IFMT   0170000
#define S_IFSOCK 0140000
#define S_IFLNK  0120000
#define S_IFREG  0100000
#define S_IFBLK  0060000
#define S_IFDIR  0040000
#define S_IFCHR  0020000
#define S_IFIFO  0010000
#endif
