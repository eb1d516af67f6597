// SPDX-License-Identifier: BSD-2-Clause
// A client's connection: messages in, messages out, and what the client has open: event callbacks
// and streams. A serial line is one connection for all its clients, one after the other.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "call.h"
#include "loop.h"
#include "packet.h"

struct transport {
    const char *name; // in the audit log
    bool serial;      // no ends of connections, and bytes may be missing
    enum role role;
    struct watch listener;
};

// A stream that a call has opened: packets of the call's procedure and serial both ways.
struct stream {
    struct stream *next;
    struct session *session;
    uint32_t procedure, serial;
    // Data from the client; nothing is data NULL, length 0: the client has ended its direction.
    void (*received)(struct stream *stream, const uint8_t *data, size_t length);
    // The output queue has room again after session_has_room said no. May be NULL.
    void (*room)(struct stream *stream);
    // The client aborted it or is gone; the stream is unlinked already and may be freed.
    void (*closed)(struct stream *stream);
};

struct event_callback {
    struct event_callback *next;
    uint32_t id, event;
    bool one_domain;
    uint8_t uuid[16];
};

struct session {
    struct watch watch;
    struct session *next;
    uint64_t id;
    const struct transport *transport;
    bool opened; // CONNECT_OPEN was called
    bool broken; // ended as soon as nothing works on it any more
    struct buffer in, out;
    struct timer silence; // serial: a message that stays incomplete is dropped
    unsigned silences;    // since its last byte
    struct event_callback *callbacks;
    struct stream *streams;
};

// Begins to serve a connected fd, which the session owns from then on. NULL: there are too many,
// and it was closed.
struct session *session_start(const struct transport *transport, int fd);
struct session *session_find(uint64_t id); // NULL: gone
void session_each(void (*visit)(struct session *session, void *context), void *context);

// Sends a message. The payload may be NULL with length 0.
void session_send(struct session *session, const struct packet *packet, const void *payload,
                  size_t length);
// Bytes that are no message.
void session_write(struct session *session, const void *data, size_t length);
// False while much waits for the client: a stream stops reading its source until `room`.
bool session_has_room(const struct session *session);

// Links a stream whose fields from procedure on are set. Only after the call's reply was sent.
void stream_open(struct session *session, struct stream *stream);
// Data to the client; length 0 tells it the end, which it confirms (received with NULL).
void stream_send(struct stream *stream, const void *data, size_t length);
// Unlinks a stream that has ended.
void stream_unlink(struct stream *stream);
