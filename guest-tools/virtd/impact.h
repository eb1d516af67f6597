// SPDX-License-Identifier: BSD-2-Clause
// What a call changes: what runs, the definition, or both (virDomainModificationImpact).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "call.h"

enum impact { AFFECT_LIVE = 1 << 0, AFFECT_CONFIG = 1 << 1 };

// What the flags of a call about its first argument, a domain, say to change; 0: it has failed.
uint32_t affected(struct call *call, uint32_t flags);

// Writes what has changed of it. False: the call has failed.
bool store_impact(struct call *call, uint32_t impact);
