// SPDX-License-Identifier: BSD-2-Clause
// The socket interface's numbers and structures that no uapi header has (socket(2), recvmsg(2),
// unix(7)).
#pragma once
#include <stdint.h>

enum {
    AF_UNSPEC = 0,
    AF_UNIX = 1,
    SOCK_STREAM = 1,
    SOCK_DGRAM = 2,
    SOCK_SEQPACKET = 5,
    SOCK_TYPE_MASK = 0xf,
    SHUT_RD = 0,
    SHUT_WR = 1,
    SHUT_RDWR = 2,
    SCM_RIGHTS = 1,
    SCM_CREDENTIALS = 2,
    SCM_MAX_FD = 253,
    MSG_PEEK = 0x02,
    MSG_CTRUNC = 0x08,
    MSG_TRUNC = 0x20,
    MSG_DONTWAIT = 0x40,
    MSG_EOR = 0x80,
    MSG_WAITALL = 0x100,
    MSG_NOSIGNAL = 0x4000,
    MSG_CMSG_CLOEXEC = 0x40000000,
};

struct message_header { // struct msghdr
    uint64_t name;
    uint32_t name_length;
    uint64_t pieces, piece_count;
    uint64_t control, control_length;
    uint32_t flags;
};

struct control_header { // struct cmsghdr
    uint64_t length;    // header included, padding not
    int32_t level, type;
};

struct credentials { // struct ucred
    int32_t pid;
    uint32_t uid, gid;
};
