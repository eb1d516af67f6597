// SPDX-License-Identifier: BSD-2-Clause
// Names of Unix sockets: nodes of the file system, and the abstract name space.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include "core/file/fd_table.h"
#include "core/file/landlock.h"
#include "core/file/node.h"
#include "core/file/path.h"
#include "core/file/unix_socket.h"
#include "core/log.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)

static struct spinlock names_lock; // below a socket's lock in no path: taken alone or outside of it
static struct list names = LIST_INIT(names);

int unix_address_load(struct unix_address *address, uint64_t user, uint64_t length) {
    struct sockaddr_un given = {0};
    if (length < PATH_OFFSET || length > sizeof(given))
        return -EINVAL;
    if (copy_from_user(&given, user, length))
        return -EFAULT;
    if (given.sun_family != AF_UNIX)
        return -EINVAL;
    size_t size = length - PATH_OFFSET;
    if (size && given.sun_path[0])
        size = strnlen(given.sun_path, size);
    address->length = (unsigned)size;
    memcpy(address->path, given.sun_path, size);
    address->path[size] = 0;
    return 0;
}

static bool is_abstract(const struct unix_address *address) {
    return address->length && !address->path[0];
}

int unix_address_store(const struct unix_address *address, uint64_t user, uint64_t user_length) {
    if (!user)
        return 0;
    uint32_t room;
    if (user_load_32(&room, user_length))
        return -EFAULT;
    if ((int32_t)room < 0)
        return -EINVAL;
    struct sockaddr_un out = {.sun_family = AF_UNIX};
    memcpy(out.sun_path, address->path, address->length);
    size_t length = PATH_OFFSET + address->length;
    if (address->length && !is_abstract(address) && address->length < UNIX_PATH_MAX)
        length++; // the path's NUL
    if (copy_to_user(user, &out, length < room ? length : room))
        return -EFAULT;
    return user_store_32(user_length, (uint32_t)length);
}

static struct unix_socket *find_abstract(const struct unix_address *address) {
    list_for_each_entry(struct unix_socket, socket, &names, name_node) {
        if (socket->address.length == address->length &&
            !memcmp(socket->address.path, address->path, address->length))
            return socket;
    }
    return NULL;
}

static int bind_abstract(struct unix_socket *socket, const struct unix_address *address) {
    spin_lock(&names_lock);
    int error = find_abstract(address) ? -EADDRINUSE : 0;
    if (!error) {
        socket->address = *address;
        list_push_back(&names, &socket->name_node);
    }
    spin_unlock(&names_lock);
    return error;
}

// A free name of five digits, as unix(7)'s autobind gives.
static int bind_any(struct unix_socket *socket) {
    static _Atomic unsigned next;
    for (unsigned tries = 0; tries < 1u << 20; tries++) {
        struct unix_address address = {.length = 6};
        char digits[8];
        format_string(digits, sizeof(digits), "%05x", atomic_fetch_add(&next, 1) & 0xfffff);
        memcpy(address.path + 1, digits, 5);
        if (!bind_abstract(socket, &address))
            return 0;
        thread_preemption_point();
    }
    return -ENOSPC;
}

static int bind_path(struct unix_socket *socket, const struct unix_address *address) {
    struct path_result result;
    int error = path_walk(NULL, address->path, PATH_CREATE, &result);
    if (error)
        return error;
    struct node *node = NULL;
    if (result.node)
        error = -EADDRINUSE;
    else
        error = landlock_check(NULL, result.directory, LANDLOCK_ACCESS_FS_MAKE_SOCK);
    if (!error &&
        !(node = node_create(S_IFSOCK | (0777 & ~process_current()->files->file_mode_mask))))
        error = -ENOMEM;
    if (!error) {
        node->socket = socket;
        error = directory_add(result.directory, result.name, result.name_length, node);
        if (error == -EEXIST)
            error = -EADDRINUSE;
    }
    path_result_free(&result);
    if (error) {
        if (node)
            node_put(node);
        return error;
    }
    spin_lock(&tree_lock);
    socket->address = *address;
    socket->node = node;
    spin_unlock(&tree_lock);
    return 0;
}

int unix_socket_bind(struct unix_socket *socket, const struct unix_address *address) {
    spin_lock(&socket->lock);
    int error = socket->address.length || socket->binding ? -EINVAL : 0;
    if (!error)
        socket->binding = true;
    spin_unlock(&socket->lock);
    if (error)
        return error;
    if (!address->length)
        error = bind_any(socket);
    else
        error = is_abstract(address) ? bind_abstract(socket, address) : bind_path(socket, address);
    spin_lock(&socket->lock);
    socket->binding = false;
    spin_unlock(&socket->lock);
    return error;
}

void unix_socket_unbind(struct unix_socket *socket) {
    spin_lock(&names_lock);
    list_remove(&socket->name_node);
    spin_unlock(&names_lock);
    spin_lock(&tree_lock);
    struct node *node = socket->node;
    if (node)
        node->socket = NULL;
    socket->node = NULL;
    spin_unlock(&tree_lock);
    if (node)
        node_put(node);
}

static struct unix_socket *find_path(const struct unix_address *address, int *error) {
    struct node *node;
    *error = path_find(NULL, address->path, PATH_FOLLOW, &node);
    if (*error)
        return NULL;
    struct unix_socket *socket = NULL;
    // Landlock leaves connect(2) alone on Linux; here a socket is a file that is written to, or a
    // program could reach whoever serves one.
    *error = landlock_check(node, NULL, LANDLOCK_ACCESS_FS_WRITE_FILE);
    if (*error) {
        node_put(node);
        return NULL;
    }
    spin_lock(&tree_lock);
    if (node_is(node, S_IFSOCK))
        socket = node->socket;
    if (socket)
        unix_socket_get(socket);
    spin_unlock(&tree_lock);
    node_put(node);
    if (!socket)
        *error = -ECONNREFUSED;
    return socket;
}

struct unix_socket *unix_socket_find(const struct unix_address *address, int *error) {
    if (!address->length) {
        *error = -EINVAL;
        return NULL;
    }
    if (!is_abstract(address))
        return find_path(address, error);
    spin_lock(&names_lock);
    struct unix_socket *socket = find_abstract(address);
    if (socket)
        unix_socket_get(socket);
    spin_unlock(&names_lock);
    *error = socket ? 0 : -ECONNREFUSED;
    return socket;
}
