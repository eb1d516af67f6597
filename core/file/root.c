// SPDX-License-Identifier: BSD-2-Clause
// The root file system at start: the initrd's entries, device nodes, and the few generated files of
// /proc and /sys.
#include <linux/errno.h>
#include <linux/kdev_t.h>
#include "arch/x86/cpu.h"
#include "core/file/cpio.h"
#include "core/file/device.h"
#include "core/file/file.h"
#include "core/file/path.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/process/process.h"
#include "core/string.h"

#define SECOND 1000000000ull

// Hard links: entries of one inode; the data may come with any of them (cpio puts it with the
// last).
struct hard_link {
    struct list link;
    uint32_t inode, device_major, device_minor;
    struct node *node;
};

static struct list hard_links = LIST_INIT(hard_links);

// Names `node` at an absolute path, making directories on the way. 0 or -errno (-EEXIST: the name
// is taken).
static int place(const char *path, size_t path_length, struct node *node) {
    struct node *directory = node_root();
    const char *end = path + path_length;
    for (;;) {
        while (path < end && *path == '/')
            path++;
        size_t length = 0;
        while (path + length < end && path[length] != '/')
            length++;
        const char *next = path + length;
        while (next < end && *next == '/')
            next++;
        if (!length || length > NAME_MAX)
            return -EINVAL;
        if (length == 1 && *path == '.') {
            path = next;
            continue;
        }
        if (next == end)
            return directory_add(directory, path, length, node);
        struct directory_entry *entry = directory_find(directory, path, length);
        struct node *below = entry ? entry->node : node_create(S_IFDIR | 0755);
        if (!below)
            return -ENOMEM;
        if (!entry) {
            int error = directory_add(directory, path, length, below);
            node_put(below);
            if (error)
                return error;
        }
        if (!node_is(below, S_IFDIR))
            return -ENOTDIR;
        directory = below;
        path = next;
    }
}

static struct node *find_hard_link(const struct cpio_entry *entry) {
    list_for_each_entry(struct hard_link, known, &hard_links, link) {
        if (known->inode == entry->inode && known->device_major == entry->device_major &&
            known->device_minor == entry->device_minor)
            return known->node;
    }
    return NULL;
}

static int remember_hard_link(const struct cpio_entry *entry, struct node *node) {
    struct hard_link *known = heap_new(struct hard_link);
    if (!known)
        return -ENOMEM;
    *known = (struct hard_link){.inode = entry->inode,
                                .device_major = entry->device_major,
                                .device_minor = entry->device_minor,
                                .node = node};
    list_push_back(&hard_links, &known->link);
    return 0;
}

static void fill(struct node *node, const struct cpio_entry *entry) {
    node->mode = entry->mode;
    atomic_store(&node->modified, entry->modified * SECOND);
    if (node_is(node, S_IFREG) && entry->size) {
        node->regular.data = entry->data;
        node->regular.size = entry->size;
    } else if (node_is(node, S_IFLNK)) {
        node->symlink.text = (const char *)entry->data;
        node->symlink.length = entry->size;
    } else if (node_is(node, S_IFCHR)) {
        node->device_number = (uint32_t)MKDEV(entry->rdev_major, entry->rdev_minor);
    }
}

static struct node *existing(const struct cpio_entry *entry) {
    struct node *node = NULL;
    char path[PATH_MAX / 4];
    if (entry->name_length + 2 > sizeof(path))
        return NULL;
    path[0] = '/';
    memcpy(path + 1, entry->name, entry->name_length + 1);
    return path_find(node_root(), path, 0, &node) ? NULL : node;
}

static int add_entry(const struct cpio_entry *entry) {
    bool linked = (entry->mode & S_IFMT) == S_IFREG && entry->links > 1;
    struct node *node = linked ? find_hard_link(entry) : NULL;
    bool seen = node;
    if (seen)
        node_get(node);
    else
        node = node_create(entry->mode);
    if (!node)
        return -ENOMEM;
    if (!seen || entry->size)
        fill(node, entry);
    int error = place(entry->name, entry->name_length, node);
    if (!error && linked && !seen)
        error = remember_hard_link(entry, node);
    node_put(node);
    if (error != -EEXIST)
        return error;
    struct node *there = existing(entry); // a directory made on the way gets its own mode now
    bool both = there && node_is(there, S_IFDIR) && (entry->mode & S_IFMT) == S_IFDIR;
    if (both)
        fill(there, entry);
    if (there)
        node_put(there);
    return both ? 0 : -EEXIST;
}

static bool is_root_name(const struct cpio_entry *entry) {
    return !strcmp(entry->name, ".") || !strcmp(entry->name, "/") || !strcmp(entry->name, "./");
}

static int mount_archive(const void *archive, size_t size) {
    struct cpio_reader reader;
    struct cpio_entry entry;
    int more;
    cpio_open(&reader, archive, size);
    while ((more = cpio_next(&reader, &entry)) > 0) {
        if (is_root_name(&entry))
            continue;
        int error = add_entry(&entry);
        if (error == -ENOMEM)
            return error;
        if (error)
            log_line("initrd: %s: not mounted (error %d)", entry.name, -error);
    }
    if (more < 0)
        log_line("initrd: damaged at byte %zu", reader.offset);
    list_for_each_safe(link, &hard_links) {
        list_remove(link);
        heap_free(container_of(link, struct hard_link, link));
    }
    return more;
}

// Names a new node and drops the reference. node NULL: -ENOMEM.
static int add(const char *path, struct node *node) {
    int error = node ? place(path, strlen(path), node) : -ENOMEM;
    if (node)
        node_put(node);
    return error;
}

static int add_text(const char *path, const char *text, size_t size) {
    struct node *node = node_create(S_IFREG | 0444);
    if (node)
        node->regular = (struct regular_content){.data = (const uint8_t *)text, .size = size};
    return add(path, node);
}

static int64_t resolve_executable(char *to, size_t size) {
    struct process *process = process_current();
    size_t length = strnlen(process->executable, sizeof(process->executable));
    if (!length || length > size)
        return -ENOENT;
    memcpy(to, process->executable, length);
    return (int64_t)length;
}

static int add_executable_symlink(void) {
    struct node *node = node_create(S_IFLNK | 0777);
    if (node)
        node->symlink.resolve = resolve_executable;
    return add("/proc/self/exe", node);
}

static int add_directory(const char *path, unsigned mode) {
    int error = add(path, node_create(S_IFDIR | mode));
    return error == -EEXIST ? 0 : error;
}

int root_directory(const char *path, struct node **directory) {
    int error = add_directory(path, 0755);
    if (!error)
        error = path_find(node_root(), path, 0, directory);
    if (!error)
        node_put(*directory); // its name holds it
    return error;
}

// "0-3\n", as Linux lists CPUs; they do not change after start.
static int add_cpu_lists(void) {
    static char list[16];
    int length = cpu_count() > 1 ? format_string(list, sizeof(list), "0-%u\n", cpu_count() - 1)
                                 : format_string(list, sizeof(list), "0\n");
    static const char *const paths[] = {"/sys/devices/system/cpu/online",
                                        "/sys/devices/system/cpu/possible",
                                        "/sys/devices/system/cpu/present"};
    int error = 0;
    for (size_t i = 0; !error && i < sizeof(paths) / sizeof(paths[0]); i++)
        error = add_text(paths[i], list, (size_t)length);
    return error;
}

// An initrd may bring the node; ours has the device.
static void give_device(const char *path, device_open *open, void *object) {
    struct node *node;
    if (path_find(NULL, path, 0, &node))
        return;
    if (node_is(node, S_IFCHR)) {
        node->open_device = open;
        node->object = object;
    }
    node_put(node);
}

void device_register(const char *path, uint32_t number, device_open *open, void *object) {
    struct node *node = node_create(S_IFCHR | 0666);
    if (node) {
        node->device_number = number;
        node->open_device = open;
        node->object = object;
    }
    int error = add(path, node);
    if (error == -EEXIST)
        give_device(path, open, object);
    else if (error)
        log_line("%s: no device node (error %d)", path, -error);
}

int root_add_text(const char *path, const char *text) {
    return add_text(path, text, strlen(text));
}

int root_init(const void *initrd, size_t size, const char *config, size_t config_size) {
    int error = mount_archive(initrd, size);
    if (error)
        return error;
    devices_init();
    if (config_size)
        error = add_text("/etc/ashlar.conf", config, config_size);
    if (error == -EEXIST)
        error = 0;
    if (!error)
        error = add_directory("/tmp", 01777);
    if (!error)
        error = add_directory("/run", 0755);
    if (!error)
        error = add_directory("/dev/shm", 01777);
    if (!error)
        error = add_executable_symlink();
    return error ? error : add_cpu_lists();
}
