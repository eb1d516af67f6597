// SPDX-License-Identifier: BSD-2-Clause
// The audit log: one line for each call that may change something.
#pragma once

#include "call.h"

struct transport;

// `transport` NULL: the client is gone. `code` 0: the call succeeded.
void audit(const struct transport *transport, const struct call *call, enum error_code code);
