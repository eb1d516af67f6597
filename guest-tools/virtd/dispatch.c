// SPDX-License-Identifier: BSD-2-Clause
// From a message to the handler of its procedure, and back with the reply.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "absent.h"
#include "access.h"
#include "call.h"
#include "domain.h"
#include "memory.h"
#include "session.h"

// Before CONNECT_OPEN only these may be called.
enum { CONNECT_OPEN = 1, CONNECT_CLOSE = 2, CONNECT_SUPPORTS_FEATURE = 60, AUTH_LIST = 66 };

static const struct procedure *const tables[] = {
    connect_calls,    node_calls,     domain_calls,     lifecycle_calls,
    event_calls,      resource_calls, device_calls,     console_calls,
    statistics_calls, storage_calls,  definition_calls, limit_calls,
};
static const struct procedure *by_number[PROCEDURES_MAX];

void dispatch_start(void) {
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct procedure *row = tables[i]; row->handler; row++) {
            by_number[row->number] = row;
        }
    }
}

static void call_free(struct call *call) {
    buffer_free(&call->reply);
    free(call->subject);
    free(call);
}

static void answer(struct call *call, enum packet_status status, enum error_code code) {
    struct session *session = session_find(call->session);
    struct packet packet = call->packet;

    if (call->procedure && call->procedure->role > ROLE_MONITOR) {
        audit(session ? session->transport : NULL, call, status == PACKET_OK ? 0 : code);
    }
    packet.type = PACKET_REPLY;
    packet.status = status;
    if (session) {
        session_send(session, &packet, call->reply.data, call->reply.length);
    }
    call_free(call);
}

enum outcome call_fail(struct call *call, enum error_code code, const char *format, ...) {
    char sentence[512];
    va_list args;

    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    call->reply.length = 0;
    packet_put_error(&call->reply, code, sentence);
    answer(call, PACKET_ERROR, code);
    return CALL_FAILED;
}

void call_finish(struct call *call) {
    answer(call, PACKET_OK, 0);
}

static void decode_parameters(struct xdr_reader *reader, union argument *argument,
                              struct parameter *items) {
    uint32_t count = xdr_get_u32(reader);

    reader->bad |= count > PARAMETERS_MAX;
    for (uint32_t i = 0; i < count && !reader->bad; i++) {
        items[i] = xdr_get_parameter(reader);
    }
    argument->parameters.items = items;
    argument->parameters.count = reader->bad ? 0 : count;
}

// Domains shrink to their uuids where they stand in the message.
static void decode_domains(struct xdr_reader *reader, union argument *argument) {
    uint32_t count = xdr_get_u32(reader);
    uint8_t *to = reader->at;

    argument->bytes.data = to;
    for (argument->bytes.length = 0; argument->bytes.length < count && !reader->bad; to += 16) {
        xdr_get_string(reader);
        const uint8_t *uuid = xdr_get_fixed(reader, 16);
        xdr_get_u32(reader);
        if (!reader->bad) {
            memmove(to, uuid, 16);
            argument->bytes.length++;
        }
    }
}

// Reads the arguments. Returns the uuid of the domain that is none of ours, or NULL.
static const uint8_t *decode(struct call *call, struct xdr_reader *reader,
                             struct parameter *parameters) {
    const uint8_t *missing = NULL;

    for (unsigned i = 0; call->procedure->arguments[i]; i++) {
        union argument *argument = &call->arguments[i];
        switch (call->procedure->arguments[i]) {
        case 'D': {
            const char *name = xdr_get_string(reader);
            const uint8_t *uuid = xdr_get_fixed(reader, 16);
            xdr_get_u32(reader);
            call->subject = copy_string(name);
            argument->domain = domain_by_uuid(uuid);
            missing = argument->domain ? missing : uuid;
            break;
        }
        case '?': // what follows is there or not
            argument->u = xdr_get_u32(reader);
            if (!argument->u) {
                return missing;
            }
            break;
        case 'u':
            argument->u = xdr_get_u32(reader);
            break;
        case 'l':
            argument->l = xdr_get_u64(reader);
            break;
        case 's':
            argument->string = xdr_get_string(reader);
            break;
        case 'o':
            argument->string = xdr_get_optional_string(reader);
            break;
        case 'U':
            argument->uuid = xdr_get_fixed(reader, 16);
            break;
        case 'b':
            argument->bytes.data = xdr_get_opaque(reader, &argument->bytes.length);
            break;
        case 'n':
            argument->bytes.length = xdr_get_u32(reader);
            reader->bad |= argument->bytes.length > NUMBERS_MAX;
            argument->bytes.data =
                reader->bad ? NULL : xdr_get_fixed(reader, 4 * argument->bytes.length);
            break;
        case 'L':
            decode_domains(reader, argument);
            break;
        case 'p':
            decode_parameters(reader, argument, parameters);
            break;
        }
    }
    return missing;
}

static bool before_open(uint32_t procedure) {
    return procedure == CONNECT_OPEN || procedure == CONNECT_CLOSE ||
           procedure == CONNECT_SUPPORTS_FEATURE || procedure == AUTH_LIST;
}

// In libvirt's words; clients in Go know this case by "unknown procedure" only.
static void refuse_absent(struct call *call) {
    const uint32_t procedure = call->packet.procedure;
    const struct absent *absent = absent_find(call->packet.program, procedure);

    call_fail(call, ERROR_NO_SUPPORT,
              "this function is not supported by the connection driver: %s%s%s%sunknown procedure: "
              "%u%s",
              absent ? absent->function : "", absent && absent->reason ? ": " : "",
              absent && absent->reason ? absent->reason : "", absent ? " (" : "", procedure,
              absent ? ")" : "");
}

void dispatch(struct session *session, const struct packet *packet, uint8_t *data) {
    struct parameter parameters[PARAMETERS_MAX];
    struct xdr_reader reader = {.at = data + PACKET_HEADER, .end = data + packet->length};
    struct call *call = allocate(sizeof(*call));

    call->session = session->id;
    call->packet = *packet;
    call->procedure = packet->program == PROGRAM_REMOTE ? by_number[packet->procedure] : NULL;
    if (!call->procedure || packet->type != PACKET_CALL) {
        refuse_absent(call);
        return;
    }
    if (!session->opened && !before_open(packet->procedure)) {
        call_fail(call, ERROR_INTERNAL, "the connection is not open");
        return;
    }
    if (call->procedure->role > session->transport->role) {
        call_fail(call, ERROR_AUTH_FAILED, "%s is not allowed on the transport '%s'",
                  call->procedure->name, session->transport->name);
        return;
    }
    const uint8_t *missing = decode(call, &reader, parameters);
    if (reader.bad) {
        call_fail(call, ERROR_RPC, "Unable to decode the arguments of %s", call->procedure->name);
        return;
    }
    if (missing) {
        char text[UUID_TEXT];
        uuid_format(missing, text);
        call_fail(call, ERROR_NO_DOMAIN, "Domain not found: no domain with matching uuid '%s' (%s)",
                  text, call->subject);
        return;
    }
    if (call->procedure->handler(call) == CALL_DONE) {
        call_finish(call);
    }
}
