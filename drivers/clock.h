// SPDX-License-Identifier: BSD-2-Clause
// The time that deadlines are in. Tests have a clock of their own in its place.
#pragma once

#include <stdint.h>

// Nanoseconds of CLOCK_MONOTONIC.
uint64_t clock_now(void);
