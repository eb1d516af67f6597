// SPDX-License-Identifier: BSD-2-Clause
// Framing, resynchronization and the output queue of a connection.
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "memory.h"
#include "metrics.h"

enum {
    READ_CHUNK = 65536,
    LINE_CHUNK = 1024, // a line takes it at its speed while others wait: 0.1 s at 115200 baud
    SILENCE_MS = 250,
    SILENCES_MAX = 8,      // no client pauses for that many within a message
    OUTPUT_ROOM = 1 << 18, // beyond this streams wait
    OUTPUT_MAX = 4 << 20,  // a client that leaves that much unread is given up
    METRICS_REQUEST_MAX = 8192,
    SESSIONS_MAX = 64,
    AUTH_LIST = 66,
};

// The constant part of the first packet of every client: AUTH_LIST, without arguments.
static const uint8_t first_packet[] = {0, 0, 0, 28, 0x20, 0,         0x80, 0x86, 0, 0,
                                       0, 1, 0, 0,  0,    AUTH_LIST, 0,    0,    0, 0};

static struct session *sessions;
static uint64_t last_id;
static unsigned session_count;

struct session *session_find(uint64_t id) {
    struct session *session = sessions;

    while (session && session->id != id) {
        session = session->next;
    }
    return session && !session->broken ? session : NULL;
}

void session_each(void (*visit)(struct session *session, void *context), void *context) {
    for (struct session *session = sessions; session; session = session->next) {
        if (!session->broken) {
            visit(session, context);
        }
    }
}

// Forgets all that the client had open.
static void forget_client(struct session *session) {
    while (session->streams) {
        struct stream *stream = session->streams;
        stream_unlink(stream);
        stream->closed(stream);
    }
    while (session->callbacks) {
        struct event_callback *callback = session->callbacks;
        session->callbacks = callback->next;
        free(callback);
    }
    session->opened = false;
}

static void session_end(struct session *session) {
    struct session **at = &sessions;

    forget_client(session);
    timer_stop(&session->silence);
    loop_remove(&session->watch);
    close(session->watch.fd);
    while (*at != session) {
        at = &(*at)->next;
    }
    *at = session->next;
    session_count--;
    buffer_free(&session->in);
    buffer_free(&session->out);
    free(session);
}

// --- output ------------------------------------------------------------------------------------

bool session_has_room(const struct session *session) {
    return session->out.length < OUTPUT_ROOM;
}

static void flush(struct session *session) {
    bool had_room = session_has_room(session);
    size_t length = session->out.length;

    if (session->transport->serial && length > LINE_CHUNK) {
        length = LINE_CHUNK;
    }
    ssize_t n = write(session->watch.fd, session->out.data, length);
    if (n > 0) {
        buffer_consume(&session->out, (size_t)n);
    } else {
        session->broken |=
            n < 0 && errno != EAGAIN && errno != EINTR && !session->transport->serial;
    }
    loop_change(&session->watch, session->out.length ? EPOLLIN | EPOLLOUT : EPOLLIN);
    for (struct stream *stream = session->streams, *next; !had_room && stream; stream = next) {
        next = stream->next;
        if (stream->room && session_has_room(session)) {
            stream->room(stream);
        }
    }
}

// More waits now; nothing did before where `idle` says so.
static void appended(struct session *session, bool idle) {
    if (session->out.length > OUTPUT_MAX) {
        // Nobody reads: what comes next on a serial line is a new client's AUTH_LIST.
        buffer_free(&session->out);
        session->broken = !session->transport->serial;
        shutdown(session->watch.fd, SHUT_RDWR);
    } else if (idle) {
        loop_change(&session->watch, EPOLLIN | EPOLLOUT);
    }
}

void session_send(struct session *session, const struct packet *packet, const void *payload,
                  size_t length) {
    bool idle = session->out.length == 0;

    if (!session->broken) {
        size_t begin = packet_begin(&session->out, packet);
        buffer_append(&session->out, payload, length);
        packet_end(&session->out, begin);
        appended(session, idle);
    }
}

void session_write(struct session *session, const void *data, size_t length) {
    bool idle = session->out.length == 0;

    if (!session->broken) {
        buffer_append(&session->out, data, length);
        appended(session, idle);
    }
}

// --- streams -----------------------------------------------------------------------------------

void stream_open(struct session *session, struct stream *stream) {
    stream->session = session;
    stream->next = session->streams;
    session->streams = stream;
}

void stream_unlink(struct stream *stream) {
    struct stream **at = &stream->session->streams;

    while (*at && *at != stream) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = stream->next;
    }
}

void stream_send(struct stream *stream, const void *data, size_t length) {
    struct packet packet = {.program = PROGRAM_REMOTE,
                            .procedure = stream->procedure,
                            .type = PACKET_STREAM,
                            .serial = stream->serial,
                            .status = PACKET_CONTINUE};

    session_send(stream->session, &packet, data, length);
}

// Status OK ends the stream, ERROR aborts it: both are confirmed by an empty packet of status OK.
static void serve_stream(struct session *session, const struct packet *packet,
                         const uint8_t *data) {
    struct stream *stream = session->streams;

    while (stream && (stream->serial != packet->serial || stream->procedure != packet->procedure)) {
        stream = stream->next;
    }
    if (!stream) {
        return; // it has ended meanwhile
    }
    if (packet->status == PACKET_CONTINUE) {
        size_t length = packet->length - PACKET_HEADER;
        stream->received(stream, length ? data + PACKET_HEADER : NULL, length);
        return;
    }
    struct packet confirmation = *packet;
    confirmation.status = PACKET_OK;
    stream_unlink(stream);
    session_send(session, &confirmation, NULL, 0);
    stream->closed(stream);
}

// --- input -------------------------------------------------------------------------------------

static void serve(struct session *session, const struct packet *packet, uint8_t *data) {
    if (packet->program == PROGRAM_KEEPALIVE) {
        if (packet->type == PACKET_MESSAGE && packet->procedure == KEEPALIVE_PING) {
            struct packet pong = *packet;
            pong.procedure = KEEPALIVE_PONG;
            session_send(session, &pong, NULL, 0);
        }
        return;
    }
    switch (packet->type) {
    case PACKET_CALL:
    case PACKET_CALL_WITH_FDS:
        if (packet->procedure == AUTH_LIST && session->transport->serial) {
            // Nothing of what an earlier client left reaches this one.
            forget_client(session);
            buffer_free(&session->out);
            tcflush(session->watch.fd, TCOFLUSH);
        }
        dispatch(session, packet, data);
        break;
    case PACKET_STREAM:
        serve_stream(session, packet, data);
        break;
    default:
        session->broken |= !session->transport->serial;
    }
}

// Drops what cannot become a message: on a serial line up to where a header may begin.
static void resynchronize(struct session *session) {
    struct packet packet;
    size_t drop = 1;

    if (!session->transport->serial) {
        session->broken = true;
        return;
    }
    while (drop < session->in.length &&
           !packet_parse(&packet, session->in.data + drop, session->in.length - drop)) {
        drop++;
    }
    buffer_consume(&session->in, drop);
}

// A client that was killed within a message leaves its half before the next one's first packet.
static bool drop_half_message(struct session *session, uint32_t length) {
    const struct buffer *in = &session->in;
    const uint8_t *mark =
        session->transport->serial && in->length > sizeof(first_packet)
            ? memmem(in->data + 1, in->length - 1, first_packet, sizeof(first_packet))
            : NULL;

    if (!mark || mark >= in->data + length) {
        return false;
    }
    buffer_consume(&session->in, (size_t)(mark - in->data));
    return true;
}

static void serve_input(struct session *session) {
    struct packet packet;

    while (session->in.length && !session->broken) {
        if (metrics_is_request(session->in.data, session->in.length) &&
            session->in.length < METRICS_REQUEST_MAX) {
            size_t length = metrics_request_length(session->in.data, session->in.length);
            if (!length) {
                break;
            }
            buffer_consume(&session->in, length);
            metrics_answer(session);
        } else if (!packet_parse(&packet, session->in.data, session->in.length)) {
            resynchronize(session);
        } else if (drop_half_message(session, packet.length)) {
            continue;
        } else if (session->in.length < PACKET_HEADER || session->in.length < packet.length) {
            break;
        } else {
            serve(session, &packet, session->in.data);
            buffer_consume(&session->in, packet.length);
        }
    }
    timer_stop(&session->silence);
    session->silences = 0;
    if (session->in.length && session->transport->serial) {
        timer_start(&session->silence, SILENCE_MS);
    }
}

// Where the host of an emulator stops it for long, the clock leaps while the rest of a message is
// still on its way: that counts once.
static void silence(struct timer *timer) {
    struct session *session = (struct session *)((char *)timer - offsetof(struct session, silence));

    if (++session->silences < SILENCES_MAX) {
        timer_start(timer, SILENCE_MS);
    } else {
        buffer_free(&session->in);
    }
}

static void ready(struct watch *watch, uint32_t events) {
    struct session *session = (struct session *)watch;

    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = read(watch->fd, buffer_room(&session->in, READ_CHUNK), READ_CHUNK);
        if (n > 0) {
            session->in.length += (size_t)n;
            serve_input(session);
        } else if (!session->transport->serial && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
            session->broken = true;
        }
    }
    if (!session->broken && session->out.length) {
        flush(session);
    }
    if (session->broken) {
        session_end(session);
    }
}

struct session *session_start(const struct transport *transport, int fd) {
    struct session *session;

    if (session_count == SESSIONS_MAX) {
        close(fd);
        return NULL;
    }
    session_count++;
    session = allocate(sizeof(*session));
    *session = (struct session){.watch = {.fd = fd, .ready = ready},
                                .next = sessions,
                                .id = ++last_id,
                                .transport = transport,
                                .silence = {.expired = silence}};
    sessions = session;
    loop_add(&session->watch, EPOLLIN);
    return session;
}
