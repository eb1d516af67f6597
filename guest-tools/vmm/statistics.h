// SPDX-License-Identifier: BSD-2-Clause
// The counters of a machine, as control.h has them.
#pragma once

#include <stdio.h>

struct vm;

void statistics_print(struct vm *vm, FILE *to);
