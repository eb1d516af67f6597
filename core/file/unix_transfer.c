// SPDX-License-Identifier: BSD-2-Clause
// Sending and receiving on Unix sockets. A message is filled and emptied without a lock: before it
// is queued and after it is taken off; what a stream's reader leaves goes back to the front.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include "arch/x86/cpu.h"
#include "core/file/blocking.h"
#include "core/file/poll_table.h"
#include "core/file/unix_socket.h"
#include "core/process/process.h"
#include "core/process/time.h"
#include "core/sched/thread.h"

#define STREAM_CHUNK 32768u // bytes of a stream in one message

// Datagram sockets' pollers besides: whom a socket sends to may change, and any receiver that makes
// room wakes them here.
static struct wait_queue datagram_room = {.waiters = LIST_INIT(datagram_room.waiters)};

// A message may go over the limit, none begins there.
static bool has_room_locked(const struct unix_socket *to) {
    return to->queued < to->receive_limit;
}

// As on Linux a socket polls writable only while most of the room is free, so that whoever is told
// so can send.
static bool has_much_room_locked(const struct unix_socket *to) {
    return to->queued <= to->receive_limit / 4;
}

static int put_message(struct unix_socket *to, struct unix_message *message) {
    int error = 0;
    spin_lock(&to->lock);
    if (to->closed)
        error = to->type == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE;
    else if (to->receive_shut)
        error = -EPIPE;
    else if (!has_room_locked(to))
        error = -EAGAIN;
    else {
        to->queued += unix_message_charge(message);
        list_push_back(&to->messages, &message->link);
    }
    spin_unlock(&to->lock);
    return error;
}

struct room {
    struct unix_socket *from, *to;
};

static bool has_room(void *object) {
    const struct room *room = object;
    spin_lock(&room->to->lock);
    bool ready = room->to->closed || room->to->receive_shut || room->from->send_shut ||
                 has_room_locked(room->to);
    spin_unlock(&room->to->lock);
    return ready;
}

int unix_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t timeout) {
    int error = file_wait(queue, ready, object, timeout ? time_after(timeout) : TIME_NEVER);
    return error == -ETIMEDOUT ? -EAGAIN : error;
}

// Queues the message, waiting for room. On an error the message is the caller's again, without its
// files.
static int deliver(struct unix_socket *from, struct unix_socket *to, struct unix_message *message,
                   struct passed_files *files, bool nonblocking) {
    struct room room = {.from = from, .to = to};
    for (;;) {
        if (from->send_shut)
            return -EPIPE;
        int error =
            files ? passed_files_send(files, to, put_message, message) : put_message(to, message);
        if (!error)
            wait_queue_wake(&to->queue, EPOLLIN | EPOLLRDNORM);
        if (error != -EAGAIN || nonblocking)
            return error;
        error = unix_wait(&to->queue, has_room, &room, from->send_timeout);
        if (error)
            return error;
    }
}

// One message of up to `size` bytes from the buffer. Bytes or -errno.
static int64_t send_one(struct unix_socket *from, struct unix_socket *to, struct io_buffer *buffer,
                        size_t size, struct unix_send *send) {
    struct unix_message *message = unix_message_create(size);
    if (!message)
        return -ENOMEM;
    size_t before = io_remaining(buffer);
    int error = io_copy_from(buffer, message->data, size);
    if (!error) {
        message->sender = (struct credentials){.pid = (int32_t)process_current()->pid};
        if (from->type == SOCK_DGRAM)
            message->from = from->address;
        error = deliver(from, to, message, send->files,
                        send->nonblocking || send->flags & MSG_DONTWAIT);
    }
    if (error) {
        buffer->remaining = before;
        unix_message_put(message);
        return error;
    }
    send->files = NULL; // they go with the first message
    return (int64_t)size;
}

static struct unix_socket *connected_peer(struct unix_socket *socket, int *error) {
    spin_lock(&socket->lock);
    struct unix_socket *peer = socket->peer;
    if (peer)
        unix_socket_get(peer);
    *error = peer ? 0 : -ENOTCONN;
    spin_unlock(&socket->lock);
    return peer;
}

int64_t unix_socket_send(struct unix_socket *socket, struct io_buffer *buffer,
                         struct unix_send *send) {
    int error = 0;
    struct unix_socket *to = send->target;
    if (to)
        unix_socket_get(to);
    else
        to = connected_peer(socket, &error);
    if (!to)
        return error;
    size_t before = io_remaining(buffer);
    int64_t result = 0;
    if (socket->type != SOCK_STREAM) {
        result =
            before > socket->send_limit ? -EMSGSIZE : send_one(socket, to, buffer, before, send);
    } else {
        size_t sent = 0;
        while (io_remaining(buffer)) {
            size_t left = io_remaining(buffer);
            result = send_one(socket, to, buffer, left < STREAM_CHUNK ? left : STREAM_CHUNK, send);
            if (result < 0)
                break;
            sent += (size_t)result;
            thread_preemption_point(); // a receiver elsewhere may keep it going
            if (thread_interrupted())
                break;
        }
        if (sent)
            result = (int64_t)sent;
    }
    unix_socket_put(to);
    return result;
}

static bool can_receive(void *object) {
    struct unix_socket *socket = object;
    spin_lock(&socket->lock);
    bool ready = !list_empty(&socket->messages) || socket->receive_shut || socket->error ||
                 (socket->peer_send_shut && socket->type != SOCK_DGRAM);
    spin_unlock(&socket->lock);
    return ready;
}

// The first message: off the queue, or with another reference where it is only looked at. NULL:
// *status is what to return (0: end of file, or files come that must not be merged with what was
// read), or -EAGAIN: none yet.
static struct unix_message *first_message(struct unix_socket *socket, bool peek, int *status) {
    struct unix_message *message = NULL;
    *status = -EAGAIN;
    spin_lock(&socket->lock);
    if (!list_empty(&socket->messages)) {
        message = container_of(socket->messages.next, struct unix_message, link);
        if (peek) {
            atomic_fetch_add(&message->references, 1);
        } else {
            list_remove(&message->link);
            list_push_back(&socket->in_hand, &message->link);
        }
    } else if (socket->error) {
        *status = -socket->error;
        socket->error = 0;
    } else if (socket->receive_shut || (socket->peer_send_shut && socket->type != SOCK_DGRAM)) {
        *status = 0;
    } else if (socket->type != SOCK_DGRAM && socket->state != UNIX_CONNECTED) {
        *status = socket->type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
    }
    spin_unlock(&socket->lock);
    return message;
}

// A taken message was used up: its room is the senders' again.
static void finish(struct unix_socket *socket, struct unix_message *message) {
    spin_lock(&socket->lock);
    list_remove(&message->link);
    socket->queued -= unix_message_charge(message);
    struct unix_socket *peer = socket->peer;
    if (peer)
        unix_socket_get(peer);
    spin_unlock(&socket->lock);
    unix_message_put(message);
    wait_queue_wake(&socket->queue, EPOLLOUT); // blocked senders
    if (peer) {
        wait_queue_wake(&peer->queue, EPOLLOUT | EPOLLWRNORM); // those who poll it
        unix_socket_put(peer);
    }
    if (socket->type == SOCK_DGRAM)
        wait_queue_wake(&datagram_room, EPOLLOUT | EPOLLWRNORM);
}

static void put_back(struct unix_socket *socket, struct unix_message *message) {
    spin_lock(&socket->lock);
    list_remove(&message->link);
    list_push_front(&socket->messages, &message->link);
    spin_unlock(&socket->lock);
    wait_queue_wake(&socket->queue, EPOLLIN | EPOLLRDNORM);
}

static void give_files(struct unix_message *message, struct unix_receive *receive) {
    if (!message->files)
        return;
    if (!receive->wants_files) {
        receive->control_cut = true;
        return;
    }
    receive->files = passed_files_copy(message->files);
    if (!receive->files)
        receive->control_cut = true;
}

// Copies of one message what fits. Bytes of data taken, or -EFAULT with the message as before.
static int64_t receive_one(struct unix_socket *socket, struct unix_message *message,
                           struct io_buffer *buffer, struct unix_receive *receive) {
    bool peek = receive->flags & MSG_PEEK;
    size_t left = message->size - message->consumed;
    size_t chunk = left < io_remaining(buffer) ? left : io_remaining(buffer);
    size_t before = io_remaining(buffer);
    int error = io_copy_to(buffer, message->data + message->consumed, chunk);
    if (error) {
        buffer->remaining = before;
        if (peek)
            unix_message_put(message);
        else
            put_back(socket, message);
        return error;
    }
    receive->sender = message->sender;
    receive->from = message->from;
    if (!message->consumed)
        give_files(message, receive);
    bool keeps_rest = socket->type == SOCK_STREAM && chunk < left;
    receive->truncated = socket->type != SOCK_STREAM && chunk < left;
    if (peek) {
        unix_message_put(message);
    } else if (keeps_rest) {
        message->consumed += chunk;
        put_back(socket, message);
    } else {
        finish(socket, message);
    }
    return receive->flags & MSG_TRUNC && socket->type != SOCK_STREAM ? (int64_t)left
                                                                     : (int64_t)chunk;
}

// A stream goes on into the next message, but files mark a border: they come with the first byte
// sent with them.
static bool wants_more(const struct unix_socket *socket, const struct io_buffer *buffer,
                       const struct unix_receive *receive, bool had_files) {
    return socket->type == SOCK_STREAM && io_remaining(buffer) && !(receive->flags & MSG_PEEK) &&
           !had_files;
}

int64_t unix_socket_receive(struct unix_socket *socket, struct io_buffer *buffer,
                            struct unix_receive *receive) {
    bool nonblocking = receive->nonblocking || receive->flags & MSG_DONTWAIT;
    int64_t done = 0;
    bool any = false;
    if (socket->type == SOCK_STREAM && !io_remaining(buffer))
        return 0;
    for (;;) {
        int status;
        struct unix_message *message = first_message(socket, receive->flags & MSG_PEEK, &status);
        if (message) {
            bool had_files = message->files;
            int64_t got = receive_one(socket, message, buffer, receive);
            if (got < 0)
                return done ? done : got;
            done += got;
            any = true;
            if (!wants_more(socket, buffer, receive, had_files))
                return done;
            thread_preemption_point(); // a sender elsewhere may keep it going
            if (thread_interrupted())
                return done;
            continue;
        }
        if (any && !(receive->flags & MSG_WAITALL))
            return done;
        if (status != -EAGAIN || nonblocking)
            return done ? done : status;
        int error = unix_wait(&socket->queue, can_receive, socket, socket->receive_timeout);
        if (error)
            return done ? done : error;
    }
}

static bool peer_has_room(struct unix_socket *socket) {
    int error;
    struct unix_socket *peer = connected_peer(socket, &error);
    if (!peer)
        return socket->type == SOCK_DGRAM;
    spin_lock(&peer->lock);
    bool ready = peer->closed || peer->receive_shut || has_much_room_locked(peer);
    spin_unlock(&peer->lock);
    unix_socket_put(peer);
    return ready;
}

static unsigned poll_listener(struct unix_socket *socket) {
    spin_lock(&socket->lock);
    unsigned events = socket->waiting ? EPOLLIN | EPOLLRDNORM : 0;
    if (socket->receive_shut)
        events |= EPOLLIN | EPOLLHUP | EPOLLRDHUP;
    spin_unlock(&socket->lock);
    return events;
}

unsigned unix_socket_poll(struct file *file, struct poll_table *table) {
    struct unix_socket *socket = file->object;
    poll_wait(table, &socket->queue);
    if (socket->type == SOCK_DGRAM)
        poll_wait(table, &datagram_room);
    if (socket->state == UNIX_LISTENING)
        return poll_listener(socket);
    unsigned events = 0;
    spin_lock(&socket->lock);
    bool no_more = socket->receive_shut || socket->peer_send_shut;
    if (!list_empty(&socket->messages) || no_more)
        events |= EPOLLIN | EPOLLRDNORM;
    if (no_more)
        events |= EPOLLRDHUP;
    bool unconnected = socket->type != SOCK_DGRAM && socket->state != UNIX_CONNECTED;
    if (socket->peer_closed || (no_more && socket->send_shut) || unconnected)
        events |= EPOLLHUP;
    if (socket->error)
        events |= EPOLLERR;
    bool broken = socket->peer_closed || unconnected;
    spin_unlock(&socket->lock);
    if (broken || peer_has_room(socket))
        events |= EPOLLOUT | EPOLLWRNORM;
    return events;
}
