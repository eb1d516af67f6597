// SPDX-License-Identifier: BSD-2-Clause
// The socket system calls but for messages (message_calls.c). There is one family: Unix.
#include <asm/fcntl.h>
#include <asm/socket.h>
#include <linux/errno.h>
#include "core/file/socket_file.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/string.h"

#define SOCKET_FLAGS (O_CLOEXEC | O_NONBLOCK) // SOCK_CLOEXEC and SOCK_NONBLOCK have their values
#define BUFFER_LEAST 4608u                    // SOCK_MIN_SNDBUF
#define BUFFER_MOST  (8u << 20)
#define SECOND       1000000000ull

struct unix_socket *socket_get(int fd, struct file **file, int *error) {
    *file = fd_get(fd);
    *error = *file ? 0 : -EBADF;
    if (!*file)
        return NULL;
    if ((*file)->ops == &unix_socket_ops)
        return (*file)->object;
    file_put(*file);
    *error = -ENOTSOCK;
    return NULL;
}

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
    if (fds[0] < 0) {
        unix_socket_close(b);
        return fds[0];
    }
    fds[1] = install(b, kind);
    error = fds[1] < 0 ? fds[1] : copy_to_user(arguments[3], fds, sizeof(fds));
    if (error) {
        fd_close(fds[0]);
        if (fds[1] >= 0)
            fd_close(fds[1]);
    }
    return error;
}

int64_t sys_bind(const uint64_t *arguments) {
    struct unix_address address;
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    error = unix_address_load(&address, arguments[1], (uint32_t)arguments[2]);
    if (!error)
        error = unix_socket_bind(socket, &address);
    file_put(file);
    return error;
}

int64_t sys_listen(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    error = unix_socket_listen(socket, (int)arguments[1]);
    file_put(file);
    return error;
}

static int64_t accept_on(struct file *file, struct unix_socket *socket, unsigned flags,
                         uint64_t address, uint64_t length) {
    int error;
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
    error = unix_address_store(&peer, address, length);
    if (error)
        fd_close(fd);
    return error ? error : fd;
}

static int64_t accept_call(const uint64_t *arguments, unsigned flags) {
    struct file *file;
    int error;
    if (flags & ~(unsigned)SOCKET_FLAGS)
        return -EINVAL;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    int64_t result = accept_on(file, socket, flags, arguments[1], arguments[2]);
    file_put(file);
    return result;
}

int64_t sys_accept(const uint64_t *arguments) {
    return accept_call(arguments, 0);
}

int64_t sys_accept4(const uint64_t *arguments) {
    return accept_call(arguments, (unsigned)arguments[3]);
}

static int connect_to(struct file *file, struct unix_socket *socket, uint64_t user,
                      uint32_t length) {
    struct unix_address address;
    uint16_t family;
    if (length < sizeof(family))
        return -EINVAL;
    if (copy_from_user(&family, user, sizeof(family)))
        return -EFAULT;
    if (family == AF_UNSPEC)
        return unix_socket_disconnect(socket);
    int error = unix_address_load(&address, user, length);
    if (error)
        return error;
    struct unix_socket *target = unix_socket_find(&address, &error);
    if (!target)
        return error;
    error = unix_socket_connect(socket, target, file->flags & O_NONBLOCK);
    unix_socket_put(target);
    return error;
}

int64_t sys_connect(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    error = connect_to(file, socket, arguments[1], (uint32_t)arguments[2]);
    file_put(file);
    return error;
}

int64_t sys_shutdown(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    error = unix_socket_shutdown(socket, (int)arguments[1]);
    file_put(file);
    return error;
}

int64_t sys_getsockname(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    struct unix_address address = socket->address;
    error = arguments[1] ? unix_address_store(&address, arguments[1], arguments[2]) : -EFAULT;
    file_put(file);
    return error;
}

int64_t sys_getpeername(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    struct unix_address address;
    spin_lock(&socket->lock);
    error = socket->peer ? 0 : -ENOTCONN;
    if (!error)
        address = socket->peer->address;
    spin_unlock(&socket->lock);
    if (!error)
        error = arguments[1] ? unix_address_store(&address, arguments[1], arguments[2]) : -EFAULT;
    file_put(file);
    return error;
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

static int get_option(struct unix_socket *socket, const uint64_t *arguments) {
    int option = (int)arguments[2], value;
    if ((int)arguments[1] != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (option == SO_PEERCRED)
        return give_option(arguments, &socket->peer_owner, sizeof(socket->peer_owner));
    if (option == SO_RCVTIMEO_OLD || option == SO_SNDTIMEO_OLD) {
        uint64_t timeout =
            option == SO_RCVTIMEO_OLD ? socket->receive_timeout : socket->send_timeout;
        uint64_t time[2] = {timeout / SECOND, timeout % SECOND / 1000};
        return give_option(arguments, time, sizeof(time));
    }
    int error = int_option(socket, option, &value);
    return error ? error : give_option(arguments, &value, sizeof(value));
}

int64_t sys_getsockopt(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    error = get_option(socket, arguments);
    file_put(file);
    return error;
}

// As Linux the limit is doubled, to leave room for what messages cost besides their data.
static size_t buffer_limit(int value) {
    unsigned bytes =
        value < 0 || (unsigned)value > BUFFER_MOST / 2 ? BUFFER_MOST : (unsigned)value * 2;
    return bytes < BUFFER_LEAST ? BUFFER_LEAST : bytes;
}

static int set_timeout(struct unix_socket *socket, int option, const uint64_t *arguments) {
    int64_t time[2];
    if ((uint32_t)arguments[4] < sizeof(time))
        return -EINVAL;
    if (copy_from_user(time, arguments[3], sizeof(time)))
        return -EFAULT;
    if (time[1] < 0 || time[1] >= 1000000)
        return -EDOM;
    uint64_t timeout = 0;
    if (time[0] >= 0 && (uint64_t)time[0] < INT64_MAX / SECOND)
        timeout = (uint64_t)time[0] * SECOND + (uint64_t)time[1] * 1000;
    *(option == SO_RCVTIMEO_OLD ? &socket->receive_timeout : &socket->send_timeout) = timeout;
    return 0;
}

static int set_option(struct unix_socket *socket, const uint64_t *arguments) {
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

int64_t sys_setsockopt(const uint64_t *arguments) {
    struct file *file;
    int error;
    struct unix_socket *socket = socket_get((int)arguments[0], &file, &error);
    if (!socket)
        return error;
    error = set_option(socket, arguments);
    file_put(file);
    return error;
}
