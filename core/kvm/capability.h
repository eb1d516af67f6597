// SPDX-License-Identifier: BSD-2-Clause
// KVM_CHECK_EXTENSION: what Ashlar's KVM can do.
#pragma once
#include <stdint.h>

// The capability's value; 0 for all that we do not have.
int capability_check(uint64_t capability);
