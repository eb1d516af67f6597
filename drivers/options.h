// SPDX-License-Identifier: BSD-2-Clause
// The command line of the driver domain.
#pragma once

#include <stdbool.h>

#define OPTIONS_DISKS_MAX 32

struct disk_options {
    const char *socket; // where front ends connect
    const char *path;   // of the image
    bool read_only;
    unsigned queues;
};

struct options {
    struct disk_options disks[OPTIONS_DISKS_MAX];
    unsigned disk_count;
};

// Fills *options from argv; prints what is wrong and exits with status 2 on a bad command line.
void options_parse(struct options *options, int argc, char **argv);
