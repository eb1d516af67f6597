// SPDX-License-Identifier: BSD-2-Clause
// The audit log: one line for each call that may change something.
#pragma once

#include "call.h"

struct transport;

// Appends to the file from now on; NULL: to standard error. Exits where it cannot.
void audit_open(const char *path);

// `transport` NULL: the client is gone. `code` 0: the call succeeded.
void audit(const struct transport *transport, const struct call *call, enum error_code code);
