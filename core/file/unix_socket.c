// SPDX-License-Identifier: BSD-2-Clause
// Unix sockets' life: creation, connection, shutdown, end; and their file operations.
#include "core/file/file_mode.h"
#include "core/file/unix_socket.h"
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include "core/file/blocking.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/signal.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

#define BUFFER_LIMIT 212992u // /proc/sys/net/core/wmem_default
#define BACKLOG_MAX  4096u   // /proc/sys/net/core/somaxconn

struct unix_socket *unix_socket_create(int type) {
    struct unix_socket *socket = heap_new(struct unix_socket);
    if (!socket)
        return NULL;
    atomic_store(&socket->references, 1);
    socket->type = type;
    list_init(&socket->messages);
    list_init(&socket->in_hand);
    list_init(&socket->accept_queue);
    list_init(&socket->accept_node);
    list_init(&socket->name_node);
    socket->receive_limit = socket->send_limit = BUFFER_LIMIT;
    socket->owner.pid = (int32_t)process_current()->pid;
    wait_queue_init(&socket->queue);
    return socket;
}

void unix_socket_get(struct unix_socket *socket) {
    atomic_fetch_add_explicit(&socket->references, 1, memory_order_relaxed);
}

void unix_socket_put(struct unix_socket *socket) {
    if (atomic_fetch_sub_explicit(&socket->references, 1, memory_order_acq_rel) == 1)
        heap_free(socket);
}

static void take_all(struct list *to, struct list *from) {
    list_init(to);
    while (!list_empty(from)) {
        struct list *link = from->next;
        list_remove(link);
        list_push_back(to, link);
    }
}

static void drop_messages(struct list *messages) {
    list_for_each_safe(link, messages) {
        list_remove(link);
        unix_message_put(container_of(link, struct unix_message, link));
        thread_preemption_point(); // each of those not accepted may have a queue full
    }
}

// Unread bytes make it a reset, as on Linux.
static void hang_up(struct unix_socket *peer, const struct unix_socket *socket, bool unread) {
    spin_lock(&peer->lock);
    if (socket->type != SOCK_DGRAM) {
        peer->peer_closed = peer->peer_send_shut = true;
        if (unread)
            peer->error = ECONNRESET;
    }
    spin_unlock(&peer->lock);
    wait_queue_wake(&peer->queue, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP);
}

void unix_socket_close(struct unix_socket *socket) {
    struct list messages, waiting;
    unix_socket_unbind(socket);
    spin_lock(&socket->lock);
    socket->closed = true;
    struct unix_socket *peer = socket->peer;
    socket->peer = NULL;
    take_all(&messages, &socket->messages);
    take_all(&waiting, &socket->accept_queue);
    spin_unlock(&socket->lock);
    bool unread = !list_empty(&messages);
    wait_queue_wake(&socket->queue, EPOLLOUT | EPOLLERR); // senders to it
    drop_messages(&messages);
    list_for_each_safe(link, &waiting) {
        list_remove(link);
        unix_socket_close(container_of(link, struct unix_socket, accept_node));
    }
    if (peer) {
        hang_up(peer, socket, unread);
        unix_socket_put(peer);
    }
    unix_socket_put(socket);
}

void unix_socket_join(struct unix_socket *a, struct unix_socket *b) {
    unix_socket_get(a);
    unix_socket_get(b);
    a->peer = b;
    b->peer = a;
    a->state = b->state = UNIX_CONNECTED;
    a->peer_owner = b->owner;
    b->peer_owner = a->owner;
}

int unix_socket_listen(struct unix_socket *socket, int backlog) {
    if (socket->type == SOCK_DGRAM)
        return -EOPNOTSUPP;
    int error = 0;
    spin_lock(&socket->lock);
    if (!socket->address.length ||
        (socket->state != UNIX_IDLE && socket->state != UNIX_LISTENING)) {
        error = -EINVAL;
    } else {
        socket->state = UNIX_LISTENING;
        socket->backlog = (unsigned)backlog > BACKLOG_MAX ? BACKLOG_MAX : (unsigned)backlog;
        socket->owner.pid = (int32_t)process_current()->pid;
    }
    spin_unlock(&socket->lock);
    if (!error)
        wait_queue_wake(&socket->queue, EPOLLOUT);
    return error;
}

static int connect_datagram(struct unix_socket *socket, struct unix_socket *target) {
    if (target->type != SOCK_DGRAM)
        return -EPROTOTYPE;
    unix_socket_get(target);
    spin_lock(&socket->lock);
    struct unix_socket *old = socket->peer;
    socket->peer = target;
    socket->state = UNIX_CONNECTED;
    spin_unlock(&socket->lock);
    if (old)
        unix_socket_put(old);
    return 0;
}

int unix_socket_disconnect(struct unix_socket *socket) {
    if (socket->type != SOCK_DGRAM)
        return -EINVAL;
    spin_lock(&socket->lock);
    struct unix_socket *old = socket->peer;
    socket->peer = NULL;
    socket->state = UNIX_IDLE;
    spin_unlock(&socket->lock);
    if (old)
        unix_socket_put(old);
    return 0;
}

// The accepting side: a socket in the listener's queue that is already the client's peer.
static int enqueue(struct unix_socket *listener, struct unix_socket *server) {
    int error = 0;
    spin_lock(&listener->lock);
    if (listener->closed || listener->state != UNIX_LISTENING || listener->receive_shut) {
        error = -ECONNREFUSED;
    } else if (listener->waiting > listener->backlog) {
        error = -EAGAIN;
    } else {
        server->address = listener->address;
        server->owner = listener->owner;
        listener->waiting++;
        list_push_back(&listener->accept_queue, &server->accept_node);
    }
    spin_unlock(&listener->lock);
    if (!error)
        wait_queue_wake(&listener->queue, EPOLLIN | EPOLLRDNORM);
    return error;
}

static bool has_backlog_room(void *object) {
    struct unix_socket *listener = object;
    spin_lock(&listener->lock);
    bool room = listener->closed || listener->state != UNIX_LISTENING || listener->receive_shut ||
                listener->waiting <= listener->backlog;
    spin_unlock(&listener->lock);
    return room;
}

static int connect_to_listener(struct unix_socket *socket, struct unix_socket *listener,
                               bool nonblocking) {
    struct unix_socket *server = unix_socket_create(socket->type);
    if (!server)
        return -ENOMEM;
    unix_socket_get(socket);
    server->peer = socket;
    server->state = UNIX_CONNECTED;
    server->peer_owner = socket->owner;
    unix_socket_get(server); // for socket->peer; the first is the queue's
    int error;
    while ((error = enqueue(listener, server)) == -EAGAIN && !nonblocking) {
        error = unix_wait(&listener->queue, has_backlog_room, listener, socket->send_timeout);
        if (error)
            break;
    }
    if (error) {
        unix_socket_put(server);
        unix_socket_put(server);
        unix_socket_put(socket);
        return error;
    }
    spin_lock(&socket->lock);
    socket->peer = server;
    socket->peer_owner = server->owner;
    socket->state = UNIX_CONNECTED;
    spin_unlock(&socket->lock);
    return 0;
}

int unix_socket_connect(struct unix_socket *socket, struct unix_socket *target, bool nonblocking) {
    if (socket->type == SOCK_DGRAM)
        return connect_datagram(socket, target);
    if (target->type != socket->type)
        return -EPROTOTYPE;
    spin_lock(&socket->lock);
    int error = socket->state == UNIX_IDLE        ? 0
                : socket->state == UNIX_CONNECTED ? -EISCONN
                : socket->state == UNIX_LISTENING ? -EINVAL
                                                  : -EALREADY;
    if (!error)
        socket->state = UNIX_CONNECTING;
    spin_unlock(&socket->lock);
    if (error)
        return error;
    socket->owner.pid = (int32_t)process_current()->pid;
    error = connect_to_listener(socket, target, nonblocking);
    if (error)
        socket->state = UNIX_IDLE;
    return error;
}

static bool can_accept(void *object) {
    struct unix_socket *socket = object;
    spin_lock(&socket->lock);
    bool ready = socket->waiting || socket->receive_shut;
    spin_unlock(&socket->lock);
    return ready;
}

struct unix_socket *unix_socket_accept(struct unix_socket *socket, bool nonblocking, int *error) {
    for (;;) {
        struct unix_socket *accepted = NULL;
        spin_lock(&socket->lock);
        *error = socket->type == SOCK_DGRAM                                ? -EOPNOTSUPP
                 : socket->state != UNIX_LISTENING || socket->receive_shut ? -EINVAL
                                                                           : 0;
        if (!*error && socket->waiting) {
            accepted = container_of(socket->accept_queue.next, struct unix_socket, accept_node);
            list_remove(&accepted->accept_node);
            socket->waiting--;
        }
        spin_unlock(&socket->lock);
        if (accepted)
            wait_queue_wake(&socket->queue, EPOLLOUT); // who waits for room in the backlog
        if (accepted || *error)
            return accepted;
        *error = nonblocking ? -EAGAIN : file_wait(&socket->queue, can_accept, socket, TIME_NEVER);
        if (*error)
            return NULL;
    }
}

void unix_socket_unaccept(struct unix_socket *listener, struct unix_socket *accepted) {
    if (passed_files_requeue(listener, accepted))
        wait_queue_wake(&listener->queue, EPOLLIN | EPOLLRDNORM);
    else
        unix_socket_close(accepted);
}

int unix_socket_shutdown(struct unix_socket *socket, int how) {
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    spin_lock(&socket->lock);
    bool listening = socket->state == UNIX_LISTENING;
    int error = socket->state == UNIX_CONNECTED || listening ? 0 : -ENOTCONN;
    struct unix_socket *peer = socket->peer;
    if (!error) {
        socket->receive_shut |= how != SHUT_WR;
        socket->send_shut |= how != SHUT_RD;
    }
    if (peer)
        unix_socket_get(peer);
    spin_unlock(&socket->lock);
    if (!error)
        wait_queue_wake(&socket->queue, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
    if (peer && !error && socket->type != SOCK_DGRAM) {
        spin_lock(&peer->lock);
        peer->peer_send_shut |= how != SHUT_RD;
        spin_unlock(&peer->lock);
        wait_queue_wake(&peer->queue, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
    }
    if (peer)
        unix_socket_put(peer);
    return error;
}

static int64_t socket_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct unix_receive receive = {.nonblocking = file->flags & O_NONBLOCK};
    return unix_socket_receive(file->object, buffer, &receive);
}

static int64_t socket_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct unix_send send = {.nonblocking = file->flags & O_NONBLOCK};
    int64_t result = unix_socket_send(file->object, buffer, &send);
    if (result == -EPIPE)
        signal_broken_pipe();
    return result;
}

static int64_t socket_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct unix_socket *socket = file->object;
    if (command != FIONREAD)
        return -ENOTTY;
    uint32_t bytes = 0;
    spin_lock(&socket->lock);
    list_for_each_entry(struct unix_message, message, &socket->messages, link) {
        bytes += (uint32_t)(message->size - message->consumed);
        if (socket->type != SOCK_STREAM)
            break; // the first datagram's
    }
    spin_unlock(&socket->lock);
    return copy_to_user(argument, &bytes, sizeof(bytes));
}

static int socket_status(struct file *file, struct stat *status) {
    status->st_mode = S_IFSOCK | 0777;
    return 0;
}

static void socket_release(struct file *file) {
    unix_socket_close(file->object);
}

const struct file_ops unix_socket_ops = {
    .name = "unix socket",
    .read = socket_read,
    .write = socket_write,
    .ioctl = socket_ioctl,
    .poll = unix_socket_poll,
    .status = socket_status,
    .release = socket_release,
};
