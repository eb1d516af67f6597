// SPDX-License-Identifier: BSD-2-Clause
// The counters of a machine, as control.h has them.
#pragma once

#include <stdio.h>

struct vm;

// Before the vCPUs' threads end: what they have used counts on, where the machine is made anew.
void statistics_keep(const struct vm *vm);

void statistics_print(struct vm *vm, FILE *to);
