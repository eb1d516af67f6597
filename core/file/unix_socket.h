// SPDX-License-Identifier: BSD-2-Clause
// Unix sockets: stream, seqpacket and datagram, with files in flight.
#pragma once
#include <linux/un.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/file/file.h"
#include "core/file/io_buffer.h"
#include "core/file/socket_abi.h"
#include "core/list.h"
#include "core/sched/spinlock.h"
#include "core/sched/wait.h"

struct unix_address {
    unsigned length;              // bytes of path; 0: unnamed
    char path[UNIX_PATH_MAX + 1]; // with a NUL behind; abstract names begin with one
};

struct passed_files {
    unsigned count;
    struct file *file[]; // a reference each
};

// What one send put into a receive queue.
struct unix_message {
    struct list link;
    atomic_uint references;     // the queue's, and of those who peek
    size_t size, consumed;      // bytes of data; how far a stream's reader is
    struct passed_files *files; // NULL: none
    struct credentials sender;
    struct unix_address from; // datagrams
    uint8_t data[];
};

enum unix_state { UNIX_IDLE, UNIX_CONNECTING, UNIX_LISTENING, UNIX_CONNECTED };

struct unix_socket {
    atomic_uint references; // the file's, the peer's, and of those who look it up
    int type;               // SOCK_*
    struct spinlock lock;   // everything below
    enum unix_state state;
    struct unix_socket *peer; // with a reference
    struct list messages;
    struct list in_hand; // messages whose receivers may yet put them back
    size_t queued;       // bytes charged for messages
    size_t receive_limit, send_limit;
    bool closed;                  // its file is gone
    bool receive_shut, send_shut; // shutdown(2) here
    bool peer_send_shut, peer_closed;
    bool pass_credentials; // SO_PASSCRED
    bool binding;          // one bind at a time: another thread would put it into the tables twice
    int error;             // SO_ERROR, positive
    struct credentials owner, peer_owner;
    uint64_t receive_timeout, send_timeout; // ns; 0: none
    struct list accept_queue;               // of a listener: connected sockets without a file
    struct list accept_node;
    unsigned backlog, waiting; // limit and length of accept_queue
    struct unix_address address;
    struct node *node;       // the name it is bound to; NULL: abstract or none
    struct list name_node;   // in the list of abstract names
    struct wait_queue queue; // readers, writers to this socket, acceptors, pollers
};

extern const struct file_ops unix_socket_ops;

struct unix_socket *unix_socket_create(int type); // NULL: no memory
void unix_socket_get(struct unix_socket *socket);
void unix_socket_put(struct unix_socket *socket);
// As the file's release: hangs up on the peer, drops the name and the queues.
void unix_socket_close(struct unix_socket *socket);
void unix_socket_join(struct unix_socket *a, struct unix_socket *b); // socketpair: both new

int unix_socket_listen(struct unix_socket *socket, int backlog);
// Stream and seqpacket wait for room in the backlog. 0 or -errno.
int unix_socket_connect(struct unix_socket *socket, struct unix_socket *target, bool nonblocking);
int unix_socket_disconnect(struct unix_socket *socket); // a datagram socket's default peer goes
// A connected socket without a file, its reference is the caller's; NULL with *error.
struct unix_socket *unix_socket_accept(struct unix_socket *socket, bool nonblocking, int *error);
void unix_socket_unaccept(struct unix_socket *listener, struct unix_socket *accepted);
int unix_socket_shutdown(struct unix_socket *socket, int how);

struct unix_send {
    struct unix_socket *target; // datagrams with an address; NULL: the peer
    struct passed_files *files; // consumed when any byte went; else still the caller's
    unsigned flags;             // MSG_*
    bool nonblocking;
};
// Bytes or -errno. No SIGPIPE from here.
int64_t unix_socket_send(struct unix_socket *socket, struct io_buffer *buffer,
                         struct unix_send *send);

struct unix_receive {
    unsigned flags; // MSG_*
    bool nonblocking;
    bool wants_files;           // else files that come are dropped and control_cut is set
    struct passed_files *files; // out; the caller's
    struct credentials sender;  // out
    struct unix_address from;   // out
    bool truncated;             // out: the datagram was longer
    bool control_cut;           // out
};
int64_t unix_socket_receive(struct unix_socket *socket, struct io_buffer *buffer,
                            struct unix_receive *receive);

// As file_wait, for a socket's timeout: -EAGAIN when that is over.
int unix_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t timeout);

unsigned unix_socket_poll(struct file *file, struct poll_table *table);

// unix_address.c: names.
int unix_address_load(struct unix_address *address, uint64_t user, uint64_t length); // 0 or -errno
// Writes the address and its full length back (accept, getsockname ...); user 0: nothing.
int unix_address_store(const struct unix_address *address, uint64_t user, uint64_t user_length);
int unix_socket_bind(struct unix_socket *socket, const struct unix_address *address);
void unix_socket_unbind(struct unix_socket *socket);
// The socket bound to the address, with a reference; NULL with *error.
struct unix_socket *unix_socket_find(const struct unix_address *address, int *error);

// unix_message.c: messages and files in flight.
struct unix_message *unix_message_create(size_t size); // NULL: no memory
void unix_message_put(struct unix_message *message);
size_t unix_message_charge(const struct unix_message *message);
struct passed_files *passed_files_create(unsigned count);
struct passed_files *
passed_files_copy(const struct passed_files *files); // with references of its own
void passed_files_free(struct passed_files *files);  // drops the references
// Call `put` (which queues the message at `to`) if the files may go into flight. 0, its error, or
// -ETOOMANYREFS: too many in flight, or one is a socket from which `to` can be reached (a cycle
// would never be freed).
int passed_files_send(struct passed_files *files, struct unix_socket *to,
                      int (*put)(struct unix_socket *to, struct unix_message *message),
                      struct unix_message *message);
// Back to the head of the listener's queue. False: it has closed, or files that have come to the
// other meanwhile lead back to it.
bool passed_files_requeue(struct unix_socket *listener, struct unix_socket *accepted);
