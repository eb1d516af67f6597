// SPDX-License-Identifier: BSD-2-Clause
// The command line.
#pragma once

struct options {
    const char *vmm;   // the monitor's program
    const char *state; // directory of the definitions
    const char *run;   // directory of what runs; gone after a boot of the host
};

extern struct options options;
