// SPDX-License-Identifier: BSD-2-Clause
// The switches of the command line, with the ports and NICs that are joined to them.
#pragma once

#include <stdio.h>

#include "drivers/options.h"

// A switch comes to be by its first name. 0, or -1 after a message on standard error.
int networks_start(const struct options *options);

// Writes each port's counters as Prometheus's text.
void networks_print(FILE *out);
