// SPDX-License-Identifier: BSD-2-Clause
// Landlock's rulesets, layers and checks; second version of its ABI, that of Linux 6.1.
#include "core/file/landlock.h"
#include <asm/fcntl.h>
#include <linux/errno.h>
#include "core/file/file.h"
#include "core/file/node.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define ABI_VERSION 2
#define ACCESS_ALL  (2 * LANDLOCK_ACCESS_FS_REFER - 1)
// What may be said of a path that is no directory (landlock(7)).
#define ACCESS_FILE                                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)
// A check looks at every rule for every directory above, with the tree's lock.
#define RULES_MAX  64
#define LAYERS_MAX 16

struct rule {
    struct node *node; // holds a reference
    uint64_t allowed;
};

struct ruleset {
    struct spinlock lock;
    uint64_t handled;
    unsigned count;
    struct rule rules[RULES_MAX];
};

struct landlock_layer {
    atomic_uint references;
    struct landlock_layer *below; // holds a reference
    unsigned depth, rules_below;
    struct ruleset set; // as it was when the thread restricted itself
};

static void drop_rules(struct ruleset *set) {
    for (unsigned i = 0; i < set->count; i++)
        node_put(set->rules[i].node);
}

struct landlock_layer *landlock_get(struct landlock_layer *layer) {
    if (layer)
        atomic_fetch_add(&layer->references, 1);
    return layer;
}

void landlock_put(struct landlock_layer *layer) {
    while (layer && atomic_fetch_sub(&layer->references, 1) == 1) {
        struct landlock_layer *below = layer->below;
        drop_rules(&layer->set);
        heap_free(layer);
        layer = below;
    }
}

// -- checks --

static uint64_t allowed_at(const struct ruleset *set, const struct node *node) {
    uint64_t allowed = 0;
    for (unsigned i = 0; i < set->count; i++)
        if (set->rules[i].node == node)
            allowed |= set->rules[i].allowed;
    return allowed;
}

// What a layer grants to a place: the sum over the path up to the root. tree_lock held.
static uint64_t allowed_below(const struct ruleset *set, struct node *node) {
    uint64_t allowed = 0;
    for (;;) {
        struct node *parent = node_parent(node);
        allowed |= allowed_at(set, node);
        if (parent == node)
            return allowed;
        node = parent;
    }
}

// A node that has no name, nor is looked for by one (a pipe, a memfd), is nobody's to name.
int landlock_check(struct node *node, struct node *directory, uint64_t access) {
    int error = 0;
    const struct landlock_layer *layer = thread_current()->landlock;
    if (!layer)
        return 0;
    spin_lock(&tree_lock);
    for (; layer && !error; layer = layer->below) {
        uint64_t allowed = node ? allowed_at(&layer->set, node) : 0;
        allowed |= allowed_below(&layer->set, directory ? directory : node);
        if (access & layer->set.handled & ~allowed)
            error = -EACCES;
    }
    spin_unlock(&tree_lock);
    return error;
}

// A layer that says nothing of REFER denies it, as the first version of the ABI did.
int landlock_check_refer(struct node *node, struct node *from, struct node *to) {
    int error = 0;
    const struct landlock_layer *layer = thread_current()->landlock;
    if (!layer)
        return 0;
    spin_lock(&tree_lock);
    if (!from)
        from = node_parent(node);
    if (from == to)
        layer = NULL;
    for (; layer && !error; layer = layer->below) {
        uint64_t old = allowed_below(&layer->set, from), new = allowed_below(&layer->set, to);
        if (!(old & new &LANDLOCK_ACCESS_FS_REFER) || (new & ~old & layer->set.handled))
            error = -EXDEV;
    }
    spin_unlock(&tree_lock);
    return error;
}

// -- rulesets --

static void ruleset_release(struct file *file) {
    drop_rules(file->object);
    heap_free(file->object);
}

static const struct file_ops ruleset_ops = {.name = "[landlock-ruleset]",
                                            .release = ruleset_release};

int64_t sys_landlock_create_ruleset(const uint64_t *a) {
    struct landlock_ruleset_attr attributes = {0};
    uint64_t size = a[1];
    if (a[2])
        return a[2] == LANDLOCK_CREATE_RULESET_VERSION && !a[0] && !size ? ABI_VERSION : -EINVAL;
    if (size < sizeof(attributes.handled_access_fs))
        return -EINVAL;
    int error =
        copy_struct_from_user(&attributes, sizeof(attributes.handled_access_fs), a[0], size);
    if (error)
        return error;
    if (attributes.handled_access_fs & ~ACCESS_ALL)
        return -EINVAL;
    if (!attributes.handled_access_fs)
        return -ENOMSG;
    struct ruleset *set = heap_new(struct ruleset);
    if (!set)
        return -ENOMEM;
    set->handled = attributes.handled_access_fs;
    int fd = fd_create(&ruleset_ops, set, O_RDWR, true);
    if (fd < 0)
        heap_free(set);
    return fd;
}

static int ruleset_get(int fd, struct file **file) {
    *file = fd_get(fd);
    if (!*file)
        return -EBADF;
    if ((*file)->ops == &ruleset_ops)
        return 0;
    file_put(*file);
    return -EBADFD;
}

static int add_rule(struct ruleset *set, struct node *node, uint64_t allowed) {
    int error = -E2BIG;
    if (!allowed)
        return -ENOMSG;
    if ((allowed & ~set->handled) || (!node_is(node, S_IFDIR) && (allowed & ~ACCESS_FILE)))
        return -EINVAL;
    spin_lock(&set->lock);
    if (set->count < RULES_MAX) {
        error = 0;
        node_get(node);
        set->rules[set->count++] = (struct rule){node, allowed};
    }
    spin_unlock(&set->lock);
    return error;
}

int64_t sys_landlock_add_rule(const uint64_t *a) {
    struct landlock_path_beneath_attr attributes;
    struct file *file, *parent;
    if (a[3])
        return -EINVAL;
    int error = ruleset_get((int)a[0], &file);
    if (error)
        return error;
    if (a[1] != LANDLOCK_RULE_PATH_BENEATH)
        error = -EINVAL;
    else if (copy_from_user(&attributes, a[2], sizeof(attributes)))
        error = -EFAULT;
    if (!error) {
        parent = fd_get(attributes.parent_fd);
        error = !parent         ? -EBADF
                : !parent->node ? -EBADFD
                                : add_rule(file->object, parent->node, attributes.allowed_access);
        if (parent)
            file_put(parent);
    }
    file_put(file);
    return error;
}

static int restrict_thread(struct ruleset *set) {
    struct thread *thread = thread_current();
    struct landlock_layer *below = thread->landlock, *layer;
    unsigned depth = below ? below->depth + 1 : 1;
    unsigned rules_below = below ? below->rules_below + below->set.count : 0;
    if (depth > LAYERS_MAX || rules_below + set->count > 4 * RULES_MAX)
        return -E2BIG;
    layer = heap_new(struct landlock_layer);
    if (!layer)
        return -ENOMEM;
    atomic_store(&layer->references, 1);
    layer->below = below;
    layer->depth = depth;
    layer->rules_below = rules_below;
    spin_lock(&set->lock);
    layer->set.handled = set->handled;
    layer->set.count = set->count;
    memcpy(layer->set.rules, set->rules, set->count * sizeof(set->rules[0]));
    for (unsigned i = 0; i < set->count; i++)
        node_get(set->rules[i].node);
    spin_unlock(&set->lock);
    thread->landlock = layer;
    return 0;
}

int64_t sys_landlock_restrict_self(const uint64_t *a) {
    struct file *file;
    if (a[1])
        return -EINVAL;
    int error = ruleset_get((int)a[0], &file);
    if (error)
        return error;
    error = restrict_thread(file->object);
    file_put(file);
    return error;
}
