// SPDX-License-Identifier: BSD-2-Clause
// Unix sockets: streams, records, passed files, names.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"

static ssize_t send_fd(int socket, int fd, const char *text) {
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec piece = {(char *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    return sendmsg(socket, &message, 0);
}

static int receive_fd(int socket, char *text, size_t size) {
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {text, size - 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) {
        return -1;
    }
    text[got] = 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int fd = -1;
    if (header && header->cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(header), sizeof(int));
    }
    return fd;
}

void socket_pairs(void) {
    int fds[2], counter;
    char text[64];
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    CHECK_EQUAL(write(fds[0], "one", 3), 3);
    CHECK_EQUAL(write(fds[0], "two", 3), 3);
    CHECK_EQUAL(recv(fds[1], text, 2, MSG_PEEK), 2);
    CHECK_EQUAL(read(fds[1], text, sizeof(text)), 6);
    CHECK(!memcmp(text, "onetwo", 6));
    FAILS(recv(fds[1], text, 1, MSG_DONTWAIT), EAGAIN);
    counter = eventfd(41, 0);
    CHECK_EQUAL(write(fds[0], "before", 6), 6);
    CHECK_EQUAL(send_fd(fds[0], counter, "with"), 4);
    close(counter);
    CHECK_EQUAL(write(fds[0], "after", 5), 5);
    int passed = receive_fd(fds[1], text, sizeof(text)); // a file is a border behind its message
    CHECK(passed >= 0 && !strcmp(text, "beforewith"), "%s", text);
    CHECK_EQUAL(receive_fd(fds[1], text, sizeof(text)), -1);
    CHECK(!strcmp(text, "after"), "%s", text);
    uint64_t value;
    CHECK_EQUAL(read(passed, &value, 8), 8);
    CHECK_EQUAL(value, 41);
    CHECK_EQUAL(fcntl(passed, F_GETFD), FD_CLOEXEC);
    close(passed);
    struct later later;
    later_start(&later, write_word, fds[0]);
    CHECK_EQUAL(recv(fds[1], text, 4, MSG_WAITALL), 4);
    later_join(&later);
    CHECK_EQUAL(shutdown(fds[0], SHUT_WR), 0);
    CHECK_EQUAL(read(fds[1], text, 1), 0);
    FAILS(send(fds[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQUAL(write(fds[1], "back", 4), 4);
    CHECK_EQUAL(read(fds[0], text, 4), 4);
    close(fds[1]);
    CHECK_EQUAL(read(fds[0], text, 1), 0);
    struct pollfd in = {.fd = fds[0], .events = POLLIN | POLLRDHUP};
    CHECK_EQUAL(poll(&in, 1, 0), 1);
    CHECK_EQUAL(in.revents, POLLIN | POLLHUP | POLLRDHUP);
    close(fds[0]);

    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
    CHECK_EQUAL(write(fds[0], "long message", 12), 12);
    CHECK_EQUAL(write(fds[0], "next", 4), 4);
    CHECK_EQUAL(read(fds[1], text, 4), 4); // the rest of a record is lost
    CHECK_EQUAL(recv(fds[1], text, 2, MSG_TRUNC), 4);
    FAILS(read(fds[1], text, 4), EAGAIN);
    static char block[1000];
    int sent = 0;
    while (write(fds[0], block, sizeof(block)) == sizeof(block)) {
        sent++;
    }
    CHECK(errno == EAGAIN && sent > 20, "%d", sent);
    struct pollfd out = {.fd = fds[0], .events = POLLOUT};
    CHECK_EQUAL(poll(&out, 1, 0), 0);
    while (read(fds[1], block, sizeof(block)) > 0) {
        sent--;
    }
    CHECK_EQUAL(sent, 0);
    CHECK_EQUAL(poll(&out, 1, 1000), 1);
    // Files still in flight go with the socket.
    int pipe_fds[2];
    CHECK_EQUAL(pipe(pipe_fds), 0);
    CHECK_EQUAL(send_fd(fds[0], pipe_fds[1], "w"), 1);
    close(pipe_fds[1]);
    close(fds[0]);
    close(fds[1]);
    CHECK_EQUAL(read(pipe_fds[0], text, 1), 0);
    close(pipe_fds[0]);
}

static void connect_later(int unused) {
    (void)unused;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "server"};
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQUAL(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_EQUAL(write(client, "hi", 2), 2);
    close(client);
}

void named_sockets(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "server"}, peer;
    socklen_t length = sizeof(peer);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(connect(client, (struct sockaddr *)&address, sizeof(address)), ENOENT);
    CHECK_EQUAL(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
    FAILS(connect(client, (struct sockaddr *)&address, sizeof(address)), ECONNREFUSED);
    CHECK_EQUAL(listen(server, 5), 0);
    struct later later;
    later_start(&later, connect_later, 0);
    int accepted = accept4(server, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
    CHECK(accepted >= 0 && length == sizeof(sa_family_t));
    char text[8];
    CHECK_EQUAL(recv(accepted, text, 2, MSG_WAITALL), 2);
    later_join(&later);
    CHECK_EQUAL(read(accepted, text, 2), 0);
    close(accepted);
    CHECK_EQUAL(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    FAILS(connect(client, (struct sockaddr *)&address, sizeof(address)), EISCONN);
    struct ucred owner;
    length = sizeof(owner);
    CHECK_EQUAL(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &owner, &length), 0);
    CHECK_EQUAL(owner.pid, getpid());
    length = sizeof(peer);
    CHECK_EQUAL(getpeername(client, (struct sockaddr *)&peer, &length), 0);
    CHECK(!strcmp(peer.sun_path, "server"));
    struct stat status;
    CHECK_EQUAL(stat("server", &status), 0);
    CHECK(S_ISSOCK(status.st_mode));
    FAILS(open("server", O_RDWR), ENXIO);
    struct pollfd in = {.fd = server, .events = POLLIN};
    CHECK_EQUAL(poll(&in, 1, 0), 1);
    close(server); // with a connection nobody accepted
    CHECK(read(client, text, 1) <= 0);
    close(client);
    CHECK_EQUAL(unlink("server"), 0);

    // Datagrams, in the abstract name space.
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    memcpy(abstract.sun_path, "\0ashlar-test", 12);
    socklen_t abstract_length = offsetof(struct sockaddr_un, sun_path) + 12;
    server = socket(AF_UNIX, SOCK_DGRAM, 0);
    client = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_EQUAL(bind(server, (struct sockaddr *)&abstract, abstract_length), 0);
    FAILS(bind(client, (struct sockaddr *)&abstract, abstract_length), EADDRINUSE);
    CHECK_EQUAL(sendto(client, "datagram", 8, 0, (struct sockaddr *)&abstract, abstract_length), 8);
    CHECK_EQUAL(recv(server, text, 4, 0), 4);
    CHECK_EQUAL(connect(client, (struct sockaddr *)&abstract, abstract_length), 0);
    CHECK_EQUAL(send(client, "more", 4, 0), 4);
    CHECK_EQUAL(recv(server, text, 8, 0), 4);
    close(server);
    FAILS(send(client, "x", 1, MSG_NOSIGNAL), ECONNREFUSED);
    close(client);
    FAILS(socket(AF_UNIX, 9, 0), ESOCKTNOSUPPORT);
}
