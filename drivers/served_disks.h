// SPDX-License-Identifier: BSD-2-Clause
// The disks that the command line names, each at its socket.
#pragma once

#include <stdio.h>

#include "drivers/options.h"

// Opens and serves all of them. 0, or -1 after a message on standard error.
int served_disks_start(const struct options *options);

// Their counters, for statistics.
void served_disks_print(FILE *out);
