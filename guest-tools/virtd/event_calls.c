// SPDX-License-Identifier: BSD-2-Clause
// Registering for events, and the messages that bring them.
#include "event.h"

#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "domain.h"
#include "memory.h"
#include "session.h"

enum {
    EVENT_LIFECYCLE = 0,
    EVENT_REBOOT = 1,
    EVENT_BALLOON = 13,
    EVENT_AGENT = 18,
    EVENT_METADATA = 23
};
enum { EVENT_IDS = 64 };

// What is sent for each event: callback id, domain, words.
struct message {
    const struct domain *domain;
    uint32_t event, procedure;
    const void *payload;
    size_t length;
};

static void send_message(struct session *session, void *context) {
    const struct message *message = context;
    const struct packet packet = {
        .program = PROGRAM_REMOTE, .procedure = message->procedure, .type = PACKET_MESSAGE};

    for (struct event_callback *c = session->callbacks; c; c = c->next) {
        struct buffer payload = {0};
        if (c->event != message->event ||
            (c->one_domain && memcmp(c->uuid, message->domain->uuid, UUID_BYTES) != 0)) {
            continue;
        }
        xdr_put_u32(&payload, c->id);
        xdr_put_domain(&payload, message->domain);
        buffer_append(&payload, message->payload, message->length);
        session_send(session, &packet, payload.data, payload.length);
        buffer_free(&payload);
    }
}

void event_lifecycle(const struct domain *domain, enum lifecycle_event event, unsigned detail) {
    struct buffer words = {0};

    xdr_put_u32(&words, event);
    xdr_put_u32(&words, detail);
    session_each(send_message,
                 &(struct message){domain, EVENT_LIFECYCLE, 318, words.data, words.length});
    buffer_free(&words);
}

void event_reboot(const struct domain *domain) {
    session_each(send_message, &(struct message){domain, EVENT_REBOOT, 319, NULL, 0});
}

void event_balloon(const struct domain *domain, uint64_t kib) {
    struct buffer words = {0};

    xdr_put_u64(&words, kib);
    session_each(send_message,
                 &(struct message){domain, EVENT_BALLOON, 331, words.data, words.length});
    buffer_free(&words);
}

void event_agent(const struct domain *domain, bool connected) {
    enum { CONNECTED = 1, DISCONNECTED = 2, BY_CHANNEL = 2 };
    struct buffer words = {0};

    xdr_put_u32(&words, connected ? CONNECTED : DISCONNECTED);
    xdr_put_u32(&words, BY_CHANNEL);
    session_each(send_message,
                 &(struct message){domain, EVENT_AGENT, 348, words.data, words.length});
    buffer_free(&words);
}

void event_metadata(const struct domain *domain, uint32_t kind, const char *uri) {
    struct buffer words = {0};

    xdr_put_u32(&words, kind);
    xdr_put_optional_string(&words, uri);
    session_each(send_message,
                 &(struct message){domain, EVENT_METADATA, 379, words.data, words.length});
    buffer_free(&words);
}

void event_device(const struct domain *domain, enum device_event event, const char *id) {
    static const uint32_t procedures[] = {[EVENT_DEVICE_REMOVED] = 333,
                                          [EVENT_DEVICE_ADDED] = 354,
                                          [EVENT_DEVICE_REMOVAL_FAILED] = 367};
    struct buffer words = {0};

    xdr_put_string(&words, id);
    session_each(send_message,
                 &(struct message){domain, event, procedures[event], words.data, words.length});
    buffer_free(&words);
}

// Any event may be registered for: `virsh event --all` gives up at the first that is refused.
static enum outcome register_any(struct call *call) {
    static uint32_t last_id;
    struct session *session = session_find(call->session);
    struct event_callback *callback;

    if (call->arguments[0].u >= EVENT_IDS) {
        return call_fail(call, ERROR_INVALID_ARG, "event %u is unknown", call->arguments[0].u);
    }
    callback = allocate(sizeof(*callback));
    *callback = (struct event_callback){
        .next = session->callbacks, .id = ++last_id, .event = call->arguments[0].u};
    // An optional domain follows.
    if (call->arguments[1].u) {
        callback->one_domain = true;
        memcpy(callback->uuid, call->arguments[2].domain->uuid, UUID_BYTES);
    }
    session->callbacks = callback;
    xdr_put_u32(&call->reply, callback->id);
    return CALL_DONE;
}

static enum outcome deregister_any(struct call *call) {
    struct event_callback **at = &session_find(call->session)->callbacks;

    while (*at && (*at)->id != call->arguments[0].u) {
        at = &(*at)->next;
    }
    if (!*at) {
        return call_fail(call, ERROR_INVALID_ARG, "callback %u is not registered",
                         call->arguments[0].u);
    }
    struct event_callback *callback = *at;
    *at = callback->next;
    free(callback);
    return CALL_DONE;
}

const struct procedure event_calls[] = {
    {316, ROLE_MONITOR, "CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY", "u?D", register_any},
    {317, ROLE_MONITOR, "CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY", "u", deregister_any},
    {0},
};
