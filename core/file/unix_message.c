// SPDX-License-Identifier: BSD-2-Clause
// Messages in receive queues, and files in flight. A queue that holds a socket's file is an edge
// from one socket to another; edges that would close a cycle are refused, so reference counts free
// everything.
#include <linux/errno.h>
#include "core/file/unix_socket.h"
#include "core/mm/heap.h"

#define IN_FLIGHT_MAX 16384u // files
#define DEPTH_MAX     8u     // sockets in queues of sockets
#define VISITS_MAX    4096u
#define OVERHEAD      256u // charged for a message besides its data

static struct spinlock in_flight_lock; // above every socket's lock: edges are only added under it
static atomic_uint in_flight;

struct passed_files *passed_files_create(unsigned count) {
    struct passed_files *files = heap_alloc(sizeof(*files) + count * sizeof(struct file *));
    if (files)
        files->count = count;
    return files;
}

struct passed_files *passed_files_copy(const struct passed_files *files) {
    struct passed_files *copy = passed_files_create(files->count);
    for (unsigned i = 0; copy && i < files->count; i++) {
        copy->file[i] = files->file[i];
        file_get(copy->file[i]);
    }
    return copy;
}

void passed_files_free(struct passed_files *files) {
    if (!files)
        return;
    for (unsigned i = 0; i < files->count; i++) {
        if (files->file[i])
            file_put_deferred(files->file[i]);
    }
    heap_free(files);
}

struct unix_message *unix_message_create(size_t size) {
    struct unix_message *message = heap_alloc(sizeof(*message) + size);
    if (!message)
        return NULL;
    atomic_store(&message->references, 1);
    message->size = size;
    return message;
}

void unix_message_put(struct unix_message *message) {
    if (atomic_fetch_sub(&message->references, 1) != 1)
        return;
    if (message->files) {
        atomic_fetch_sub(&in_flight, message->files->count);
        passed_files_free(message->files);
    }
    heap_free(message);
}

size_t unix_message_charge(const struct unix_message *message) {
    return message->size + OVERHEAD;
}

struct walk {
    const struct unix_socket *target;
    unsigned visits;
};

static bool reaches(struct walk *walk, struct unix_socket *socket, unsigned depth);

static bool files_reach(struct walk *walk, const struct passed_files *files, unsigned depth) {
    for (unsigned i = 0; files && i < files->count; i++) {
        if (files->file[i]->ops == &unix_socket_ops && reaches(walk, files->file[i]->object, depth))
            return true;
    }
    return false;
}

// Also true where the graph is too deep or wide to tell. Sockets' locks nest here and only here,
// along an acyclic graph.
static bool reaches(struct walk *walk, struct unix_socket *socket, unsigned depth) {
    if (socket == walk->target || depth > DEPTH_MAX || ++walk->visits > VISITS_MAX)
        return true;
    bool found = false;
    spin_lock(&socket->lock);
    for (unsigned i = 0; i < 2; i++) {
        struct list *messages = i ? &socket->in_hand : &socket->messages;
        for (struct list *link = messages->next; !found && link != messages; link = link->next)
            found =
                files_reach(walk, container_of(link, struct unix_message, link)->files, depth + 1);
    }
    if (!found && socket->state == UNIX_LISTENING) {
        list_for_each(link, &socket->accept_queue) {
            found = reaches(walk, container_of(link, struct unix_socket, accept_node), depth + 1);
            if (found)
                break;
        }
    }
    spin_unlock(&socket->lock);
    return found;
}

int passed_files_send(struct passed_files *files, struct unix_socket *to,
                      int (*put)(struct unix_socket *to, struct unix_message *message),
                      struct unix_message *message) {
    struct walk walk = {.target = to};
    spin_lock(&in_flight_lock);
    int error = 0;
    if (atomic_load(&in_flight) + files->count > IN_FLIGHT_MAX || files_reach(&walk, files, 1))
        error = -ETOOMANYREFS;
    if (!error) {
        message->files = files;
        atomic_fetch_add(&in_flight, files->count);
        error = put(to, message);
        if (error) {
            message->files = NULL;
            atomic_fetch_sub(&in_flight, files->count);
        }
    }
    spin_unlock(&in_flight_lock);
    return error;
}

bool passed_files_requeue(struct unix_socket *listener, struct unix_socket *accepted) {
    struct walk walk = {.target = listener};
    spin_lock(&in_flight_lock);
    bool may = !reaches(&walk, accepted, 1);
    spin_lock(&listener->lock);
    may &= !listener->closed;
    if (may) {
        list_push_front(&listener->accept_queue, &accepted->accept_node);
        listener->waiting++;
    }
    spin_unlock(&listener->lock);
    spin_unlock(&in_flight_lock);
    return may;
}
