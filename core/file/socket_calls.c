// SPDX-License-Identifier: BSD-2-Clause
// The socket system calls but for messages (message_calls.c). There is one family: Unix.
#include <asm/fcntl.h>
#include <asm/socket.h>
#include <linux/errno.h>
#include "core/file/unix_socket.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/process/time.h"

#define SOCKET_FLAGS (O_CLOEXEC | O_NONBLOCK) // SOCK_CLOEXEC and SOCK_NONBLOCK have their values
#define BUFFER_LEAST 4608u                    // SOCK_MIN_SNDBUF
#define BUFFER_MOST  (8u << 20)

static int check_kind(int family, unsigned kind, int protocol) {
    unsigned type = kind & SOCK_TYPE_MASK;
    if (kind & ~(SOCK_TYPE_MASK | SOCKET_FLAGS))
        return -EINVAL;
    if (family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (protocol && protocol != AF_UNIX)
        return -EPROTONOSUPPORT;
    return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET ? 0
                                                                               : -ESOCKTNOSUPPORT;
}

// An fd for the socket; its reference is consumed in any case.
static int install(struct unix_socket *socket, unsigned flags) {
    int fd = fd_create(&unix_socket_ops, socket, O_RDWR | (flags & O_NONBLOCK), flags & O_CLOEXEC);
    if (fd < 0)
        unix_socket_close(socket);
    return fd;
}

int64_t sys_socket(const uint64_t *arguments) {
    unsigned kind = (unsigned)arguments[1];
    int error = check_kind((int)arguments[0], kind, (int)arguments[2]);
    if (error)
        return error;
    struct unix_socket *socket = unix_socket_create((int)(kind & SOCK_TYPE_MASK));
    return socket ? install(socket, kind) : -ENOMEM;
}

int64_t sys_socketpair(const uint64_t *arguments) {
    unsigned kind = (unsigned)arguments[1];
    int fds[2];
    int error = check_kind((int)arguments[0], kind, (int)arguments[2]);
    if (error)
        return error;
    struct unix_socket *a = unix_socket_create((int)(kind & SOCK_TYPE_MASK));
    struct unix_socket *b = unix_socket_create((int)(kind & SOCK_TYPE_MASK));
    if (!a || !b) {
        if (a)
            unix_socket_put(a);
        if (b)
            unix_socket_put(b);
        return -ENOMEM;
    }
    unix_socket_join(a, b);
    fds[0] = install(a, kind);
    fds[1] = install(b, kind);
    return fd_store_pair(fds, arguments[3]);
}

int64_t socket_bind(struct file *file, const uint64_t *arguments) {
    struct unix_address address;
    int error = unix_address_load(&address, arguments[1], (uint32_t)arguments[2]);
    return error ? error : unix_socket_bind(file->object, &address);
}

int64_t socket_listen(struct file *file, const uint64_t *arguments) {
    return unix_socket_listen(file->object, (int)arguments[1]);
}

int64_t socket_accept4(struct file *file, const uint64_t *arguments) {
    struct unix_socket *socket = file->object;
    unsigned flags = (unsigned)arguments[3];
    int error;
    if (flags & ~(unsigned)SOCKET_FLAGS)
        return -EINVAL;
    struct unix_socket *accepted = unix_socket_accept(socket, file->flags & O_NONBLOCK, &error);
    if (!accepted)
        return error;
    struct unix_address peer = {0};
    spin_lock(&accepted->lock);
    if (accepted->peer)
        peer = accepted->peer->address;
    spin_unlock(&accepted->lock);
    int fd =
        fd_create(&unix_socket_ops, accepted, O_RDWR | (flags & O_NONBLOCK), flags & O_CLOEXEC);
    if (fd < 0) {
        unix_socket_unaccept(socket, accepted);
        return fd;
    }
    error = unix_address_store(&peer, arguments[1], arguments[2]);
    if (error)
        fd_close(fd);
    return error ? error : fd;
}

int64_t socket_connect(struct file *file, const uint64_t *arguments) {
    uint64_t user = arguments[1];
    uint32_t length = (uint32_t)arguments[2];
    struct unix_address address;
    uint16_t family;
    if (length < sizeof(family))
        return -EINVAL;
    if (copy_from_user(&family, user, sizeof(family)))
        return -EFAULT;
    if (family == AF_UNSPEC)
        return unix_socket_disconnect(file->object);
    int error = unix_address_load(&address, user, length);
    if (error)
        return error;
    struct unix_socket *target = unix_socket_find(&address, &error);
    if (!target)
        return error;
    error = unix_socket_connect(file->object, target, file->flags & O_NONBLOCK);
    unix_socket_put(target);
    return error;
}

int64_t socket_shutdown(struct file *file, const uint64_t *arguments) {
    return unix_socket_shutdown(file->object, (int)arguments[1]);
}

int64_t socket_getsockname(struct file *file, const uint64_t *arguments) {
    struct unix_address address = ((struct unix_socket *)file->object)->address;
    return arguments[1] ? unix_address_store(&address, arguments[1], arguments[2]) : -EFAULT;
}

int64_t socket_getpeername(struct file *file, const uint64_t *arguments) {
    struct unix_socket *socket = file->object;
    struct unix_address address;
    spin_lock(&socket->lock);
    bool connected = socket->peer;
    if (connected)
        address = socket->peer->address;
    spin_unlock(&socket->lock);
    if (!connected)
        return -ENOTCONN;
    return arguments[1] ? unix_address_store(&address, arguments[1], arguments[2]) : -EFAULT;
}

static int take_error(struct unix_socket *socket) {
    spin_lock(&socket->lock);
    int error = socket->error;
    socket->error = 0;
    spin_unlock(&socket->lock);
    return error;
}

// An int option's value, or -ENOPROTOOPT.
static int int_option(struct unix_socket *socket, int option, int *value) {
    switch (option) {
    case SO_TYPE:
        *value = socket->type;
        return 0;
    case SO_DOMAIN:
        *value = AF_UNIX;
        return 0;
    case SO_PROTOCOL:
    case SO_REUSEADDR:
    case SO_KEEPALIVE:
    case SO_BROADCAST:
        *value = 0;
        return 0;
    case SO_ERROR:
        *value = take_error(socket);
        return 0;
    case SO_SNDBUF:
        *value = (int)socket->send_limit;
        return 0;
    case SO_RCVBUF:
        *value = (int)socket->receive_limit;
        return 0;
    case SO_ACCEPTCONN:
        *value = socket->state == UNIX_LISTENING;
        return 0;
    case SO_PASSCRED:
        *value = socket->pass_credentials;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int give_option(const uint64_t *arguments, const void *value, size_t size) {
    uint32_t room;
    if (user_load_32(&room, arguments[4]))
        return -EFAULT;
    if ((int32_t)room < 0)
        return -EINVAL;
    if (room > size)
        room = (uint32_t)size;
    if (copy_to_user(arguments[3], value, room))
        return -EFAULT;
    return user_store_32(arguments[4], room);
}

int64_t socket_getsockopt(struct file *file, const uint64_t *arguments) {
    struct unix_socket *socket = file->object;
    int option = (int)arguments[2], value;
    if ((int)arguments[1] != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (option == SO_PEERCRED)
        return give_option(arguments, &socket->peer_owner, sizeof(socket->peer_owner));
    if (option == SO_RCVTIMEO_OLD || option == SO_SNDTIMEO_OLD) {
        uint64_t timeout =
            option == SO_RCVTIMEO_OLD ? socket->receive_timeout : socket->send_timeout;
        struct time_value time = time_value_from_ns(timeout);
        return give_option(arguments, &time, sizeof(time));
    }
    int error = int_option(socket, option, &value);
    return error ? error : give_option(arguments, &value, sizeof(value));
}

// As Linux the limit is doubled, to leave room for what messages cost besides their data.
static size_t buffer_limit(int value) {
    unsigned bytes =
        value < 0 || (unsigned)value > BUFFER_MOST / 2 ? BUFFER_MOST : (unsigned)value * 2;
    return bytes < BUFFER_LEAST ? BUFFER_LEAST : bytes;
}

static int set_timeout(struct unix_socket *socket, int option, const uint64_t *arguments) {
    struct time_value time;
    if ((uint32_t)arguments[4] < sizeof(time))
        return -EINVAL;
    if (copy_from_user(&time, arguments[3], sizeof(time)))
        return -EFAULT;
    if ((uint64_t)time.microseconds >= 1000000)
        return -EDOM;
    uint64_t timeout = time.seconds < 0 ? 0 : time_value_ns(&time);
    *(option == SO_RCVTIMEO_OLD ? &socket->receive_timeout : &socket->send_timeout) = timeout;
    return 0;
}

int64_t socket_setsockopt(struct file *file, const uint64_t *arguments) {
    struct unix_socket *socket = file->object;
    int option = (int)arguments[2], value;
    if ((int)arguments[1] != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (option == SO_RCVTIMEO_OLD || option == SO_SNDTIMEO_OLD)
        return set_timeout(socket, option, arguments);
    if ((uint32_t)arguments[4] < sizeof(value))
        return -EINVAL;
    if (copy_from_user(&value, arguments[3], sizeof(value)))
        return -EFAULT;
    switch (option) {
    case SO_SNDBUF:
        socket->send_limit = buffer_limit(value);
        return 0;
    case SO_RCVBUF:
        socket->receive_limit = buffer_limit(value);
        return 0;
    case SO_PASSCRED:
        socket->pass_credentials = value;
        return 0;
    case SO_REUSEADDR: // without meaning for Unix sockets (unix(7)): accepted there and ignored
    case SO_KEEPALIVE:
    case SO_BROADCAST:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}
