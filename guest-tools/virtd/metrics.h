// SPDX-License-Identifier: BSD-2-Clause
// What Prometheus scrapes, in its text format, from any transport: a client that says "GET
// /metrics" where a message would begin.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

// Whether the bytes are the beginning of such a request, perhaps not yet whole.
bool metrics_is_request(const uint8_t *data, size_t length);
// The bytes of a whole request; 0: more must come.
size_t metrics_request_length(const uint8_t *data, size_t length);
// Gathers and answers, by and by.
void metrics_answer(struct session *session);
