// SPDX-License-Identifier: BSD-2-Clause
// A call of a client: its arguments as the procedure's table row says, and its reply.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "packet.h"
#include "xdr.h"

struct domain;
struct session;

enum role { ROLE_MONITOR, ROLE_OPERATOR, ROLE_ADMIN };
enum { ARGUMENTS_MAX = 7, PARAMETERS_MAX = 64, NUMBERS_MAX = 16 };

union argument {
    uint32_t u;
    int32_t i;
    uint64_t l;
    const char *string;
    const uint8_t *uuid;
    struct domain *domain;
    struct {
        const uint8_t *data;
        uint32_t length;
    } bytes;
    struct {
        struct parameter *items;
        uint32_t count;
    } parameters;
};

struct call {
    uint64_t session; // its id: the session may be gone when a late reply comes
    struct packet packet;
    const struct procedure *procedure;
    union argument arguments[ARGUMENTS_MAX]; // valid while the handler runs, not for a late reply
    struct buffer reply;                     // what xdr_put_* writes
    char *subject;                           // the domain's name, for the audit log
};

enum outcome { CALL_DONE, CALL_FAILED, CALL_LATER };

struct procedure {
    uint16_t number;
    uint8_t role; // the least that may call it; what a monitor may call changes nothing
    const char *name;
    // One letter an argument: D domain, u u32 or i32, l u64, s string, o optional string, U uuid,
    // b opaque bytes, n an array of u32 as they came (`bytes`, so many), p typed parameters, L a
    // list of domains (`bytes`, so many uuids), ? whether the rest is there. More bytes than that
    // are ignored.
    const char *arguments;
    // CALL_DONE: the reply is written. CALL_FAILED: returned by call_fail. CALL_LATER: the handler
    // has kept the call, and call_finish or call_fail ends it.
    enum outcome (*handler)(struct call *call);
};

// Tables end with a row without a handler.
extern const struct procedure connect_calls[], node_calls[], domain_calls[], lifecycle_calls[],
    event_calls[], resource_calls[], device_calls[], console_calls[], statistics_calls[],
    storage_calls[], definition_calls[], limit_calls[];

// Sends an error with a sentence. Returns CALL_FAILED.
enum outcome call_fail(struct call *call, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Sends the reply of a call that was kept, and frees the call.
void call_finish(struct call *call);

// Makes the tables' index. Called once.
void dispatch_start(void);
// Serves the call in `data`, the whole message.
void dispatch(struct session *session, const struct packet *packet, uint8_t *data);
