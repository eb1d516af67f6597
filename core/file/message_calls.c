// SPDX-License-Identifier: BSD-2-Clause
// sendto, recvfrom, sendmsg, recvmsg: addresses, vectors and control messages (cmsg(3)).
#include <asm/fcntl.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/socket.h>
#include <linux/errno.h>
#include "core/file/unix_socket.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/signal.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

#define CONTROL_MAX   20480u // /proc/sys/net/core/optmem_max
#define SEND_FLAGS    (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_EOR)
#define RECEIVE_FLAGS (MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC | MSG_WAITALL | MSG_CMSG_CLOEXEC)

static uint64_t control_align(uint64_t length) {
    return (length + 7) & ~7ull;
}

// The target of a send with an address, with a reference. Connected sockets' addresses are refused
// as on Linux.
static int find_target(struct unix_socket *socket, uint64_t name, uint32_t length,
                       struct unix_socket **target) {
    struct unix_address address;
    *target = NULL;
    if (!name || !length)
        return 0;
    if (socket->type != SOCK_DGRAM)
        return socket->state == UNIX_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    int error = unix_address_load(&address, name, length);
    if (error)
        return error;
    *target = unix_socket_find(&address, &error);
    if (*target && (*target)->type != SOCK_DGRAM) {
        unix_socket_put(*target);
        *target = NULL;
        return -EPROTOTYPE;
    }
    return error;
}

static int64_t send_buffer(struct file *file, struct io_buffer *buffer, uint64_t name,
                           uint32_t name_length, struct unix_send *send) {
    struct unix_socket *socket = file->object;
    if (send->flags & ~(unsigned)SEND_FLAGS)
        return -EOPNOTSUPP;
    int error = find_target(socket, name, name_length, &send->target);
    if (error)
        return error;
    send->nonblocking = file->flags & O_NONBLOCK;
    int64_t result = unix_socket_send(socket, buffer, send);
    if (send->target)
        unix_socket_put(send->target);
    if (result == -EPIPE && !(send->flags & MSG_NOSIGNAL) && socket->type != SOCK_DGRAM)
        signal_broken_pipe();
    return result;
}

int64_t socket_sendto(struct file *file, const uint64_t *arguments) {
    struct io_buffer buffer;
    struct unix_send send = {.flags = (unsigned)arguments[3]};
    int error = io_buffer_user(&buffer, arguments[1], arguments[2]);
    return error ? error : send_buffer(file, &buffer, arguments[4], (uint32_t)arguments[5], &send);
}

static int take_files(const int32_t *fds, unsigned count, struct passed_files **files) {
    if (!count)
        return 0;
    if (*files || count > SCM_MAX_FD)
        return -EINVAL;
    struct passed_files *taken = passed_files_create(count);
    if (!taken)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        taken->file[i] = fd_get(fds[i]);
        if (!taken->file[i]) {
            passed_files_free(taken);
            return -EBADF;
        }
    }
    *files = taken;
    return 0;
}

static int parse_control(const uint8_t *control, uint64_t size, struct passed_files **files) {
    uint64_t at = 0;
    while (size - at >= sizeof(struct control_header)) {
        const struct control_header *header = (const struct control_header *)(control + at);
        if (header->length < sizeof(*header) || header->length > size - at)
            return -EINVAL;
        uint64_t data = header->length - sizeof(*header);
        if (header->level == SOL_SOCKET) {
            int error = -EINVAL;
            if (header->type == SCM_RIGHTS)
                error = take_files((const int32_t *)(header + 1),
                                   (unsigned)(data / sizeof(int32_t)), files);
            else if (header->type == SCM_CREDENTIALS) // the true ones are sent with every message
                error = data == sizeof(struct credentials) ? 0 : -EINVAL;
            if (error)
                return error;
        }
        uint64_t next = control_align(header->length);
        if (next > size - at)
            break;
        at += next;
    }
    return 0;
}

static int load_control(const struct message_header *header, struct passed_files **files) {
    *files = NULL;
    if (!header->control || !header->control_length)
        return 0;
    if (header->control_length > CONTROL_MAX)
        return -ENOBUFS;
    uint8_t *control = heap_alloc(header->control_length);
    if (!control)
        return -ENOMEM;
    int error = copy_from_user(control, header->control, header->control_length);
    if (!error)
        error = parse_control(control, header->control_length, files);
    if (error) {
        passed_files_free(*files);
        *files = NULL;
    }
    heap_free(control);
    return error;
}

// sendmsg's or recvmsg's argument.
struct message {
    struct message_header header;
    struct io_buffer buffer;
};

static int64_t message_call(struct file *file, const uint64_t *arguments,
                            int64_t (*call)(struct file *file, struct message *message,
                                            const uint64_t *arguments)) {
    struct message message;
    struct io_vector vector;
    int64_t result = -EFAULT;
    if (!copy_from_user(&message.header, arguments[1], sizeof(message.header)))
        result = io_vector_load(&vector, message.header.pieces, message.header.piece_count);
    if (!result) {
        io_buffer_vector(&message.buffer, vector.pieces, vector.count);
        result = call(file, &message, arguments);
        io_vector_free(&vector);
    } else if (result == -EINVAL) {
        result = -EMSGSIZE;
    }
    return result;
}

static int64_t send_message(struct file *file, struct message *message, const uint64_t *arguments) {
    struct unix_send send = {.flags = (unsigned)arguments[2]};
    int64_t result = load_control(&message->header, &send.files);
    if (result)
        return result;
    result = send_buffer(file, &message->buffer, message->header.name, message->header.name_length,
                         &send);
    passed_files_free(send.files); // NULL once they are on their way
    return result;
}

int64_t socket_sendmsg(struct file *file, const uint64_t *arguments) {
    return message_call(file, arguments, send_message);
}

static int64_t receive_buffer(struct file *file, struct io_buffer *buffer,
                              struct unix_receive *receive) {
    if (receive->flags & ~(unsigned)(RECEIVE_FLAGS | MSG_NOSIGNAL))
        return -EOPNOTSUPP;
    receive->nonblocking = file->flags & O_NONBLOCK;
    return unix_socket_receive(file->object, buffer, receive);
}

int64_t socket_recvfrom(struct file *file, const uint64_t *arguments) {
    struct io_buffer buffer;
    struct unix_receive receive = {.flags = (unsigned)arguments[3]};
    int64_t result = io_buffer_user(&buffer, arguments[1], arguments[2]);
    if (!result)
        result = receive_buffer(file, &buffer, &receive);
    if (result >= 0 && unix_address_store(&receive.from, arguments[4], arguments[5]))
        return -EFAULT;
    return result;
}

// The control messages of a receive, written one after the other into the caller's buffer.
struct control_writer {
    uint64_t at, room;
    bool cut;
};

static int put_control(struct control_writer *writer, int type, const void *data, size_t size) {
    struct control_header header = {
        .length = sizeof(header) + size, .level = SOL_SOCKET, .type = type};
    if (writer->room < header.length) {
        writer->cut = true;
        return 0;
    }
    if (copy_to_user(writer->at, &header, sizeof(header)) ||
        copy_to_user(writer->at + sizeof(header), data, size))
        return -EFAULT;
    uint64_t step = control_align(header.length);
    step = step < writer->room ? step : writer->room;
    writer->at += step;
    writer->room -= step;
    return 0;
}

// As many fds as there is room for; the other files are closed and MSG_CTRUNC says so.
static int put_files(struct control_writer *writer, struct passed_files *files,
                     bool close_on_exec) {
    int32_t fds[SCM_MAX_FD];
    unsigned room =
        writer->room > sizeof(struct control_header)
            ? (unsigned)((writer->room - sizeof(struct control_header)) / sizeof(int32_t))
            : 0;
    unsigned count = 0;
    while (count < files->count && count < room) {
        int fd = fd_install(files->file[count], close_on_exec);
        files->file[count] = NULL; // the table's now
        if (fd < 0)
            break;
        fds[count++] = fd;
    }
    writer->cut |= count < files->count;
    int error = count ? put_control(writer, SCM_RIGHTS, fds, count * sizeof(fds[0])) : 0;
    for (unsigned i = 0; error && i < count; i++)
        fd_close(fds[i]);
    return error;
}

static int store_results(struct unix_socket *socket, uint64_t address,
                         const struct message_header *header, struct unix_receive *receive) {
    struct control_writer writer = {.at = header->control,
                                    .room = header->control ? header->control_length : 0};
    int error = 0;
    if (socket->pass_credentials)
        error = put_control(&writer, SCM_CREDENTIALS, &receive->sender, sizeof(receive->sender));
    if (!error && receive->files)
        error = put_files(&writer, receive->files, receive->flags & MSG_CMSG_CLOEXEC);
    if (error)
        return error;
    uint32_t flags = (writer.cut || receive->control_cut ? MSG_CTRUNC : 0) |
                     (receive->truncated ? MSG_TRUNC : 0) | (receive->flags & MSG_CMSG_CLOEXEC);
    uint64_t used = writer.at - header->control;
    if (header->name && unix_address_store(&receive->from, header->name,
                                           address + offsetof(struct message_header, name_length)))
        return -EFAULT;
    if (user_store_64(address + offsetof(struct message_header, control_length), used) ||
        user_store_32(address + offsetof(struct message_header, flags), flags))
        return -EFAULT;
    return 0;
}

static int64_t receive_message(struct file *file, struct message *message,
                               const uint64_t *arguments) {
    struct unix_receive receive = {.flags = (unsigned)arguments[2], .wants_files = true};
    int64_t result = receive_buffer(file, &message->buffer, &receive);
    if (result >= 0) {
        int error = store_results(file->object, arguments[1], &message->header, &receive);
        if (error)
            result = error;
    }
    passed_files_free(receive.files);
    return result;
}

int64_t socket_recvmsg(struct file *file, const uint64_t *arguments) {
    return message_call(file, arguments, receive_message);
}
