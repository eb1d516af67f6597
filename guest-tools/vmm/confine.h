// SPDX-License-Identifier: BSD-2-Clause
// --landlock: the monitor shuts itself off from all but what its command line names, before it sees
// anything of its guest's.
#pragma once

#include "options.h"

// Ends the program where that cannot be done. Before there is a second thread.
void confine(const struct options *options);
