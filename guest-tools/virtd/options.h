// SPDX-License-Identifier: BSD-2-Clause
// The command line.
#pragma once

#include "call.h"

struct options {
    const char *socket; // where clients connect
    const char *serial; // a terminal with clients; NULL: none
    const char *audit;  // file of the audit log; NULL: standard error
    enum role socket_role, serial_role;
    const char *vmm;   // the monitor's program
    const char *state; // directory of the definitions
    const char *run;   // directory of what runs; gone after a boot of the host
    unsigned patience; // seconds that a monitor may take to answer
};

extern struct options options;

// Exits where the command line asks for nothing else, or for what there is not.
void options_parse(int argc, char **argv);
