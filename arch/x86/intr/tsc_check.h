// SPDX-License-Identifier: BSD-2-Clause
// Whether the TSCs of two CPUs agree: time_now() is to be the same on all of them.
#pragma once
#include <stdint.h>

// On the boot CPU, while the other one is in tsc_check_answer: how many ticks the other one's TSC
// is certainly ahead (negative: behind). 0: no difference that the way between the CPUs would not
// hide.
int64_t tsc_check_ask(void);
void tsc_check_answer(void);
