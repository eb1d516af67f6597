// SPDX-License-Identifier: BSD-2-Clause
// The command line of vmm, named as cloud-hypervisor names its options.
#pragma once

#include <stdint.h>

enum serial_mode {
    SERIAL_OFF,  // no port at all
    SERIAL_NULL, // output thrown away, no input
    SERIAL_TTY,  // standard input and output
    SERIAL_FILE, // output to a file, no input
};

struct options {
    const char *kernel;
    const char *initrd; // NULL: none
    const char *cmdline;
    const char *serial_path; // of SERIAL_FILE
    uint64_t memory_bytes;
    unsigned cpus;
    enum serial_mode serial;
};

// Fills *options from argv. Prints what is wrong and exits with status 2 on a bad command line;
// prints and exits with 0 for --help and --version.
void options_parse(struct options *options, int argc, char **argv);
