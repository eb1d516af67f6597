// SPDX-License-Identifier: BSD-2-Clause
// From a name to a disk: an image, or a disk of the machine, or a partition of either, or a file on
// one of those.
#include "drivers/served_disks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/block/ext4_file.h"
#include "drivers/block/gpt.h"
#include "drivers/block/partition.h"
#include "drivers/block/raw_file.h"
#include "drivers/block/slow_disk.h"
#include "drivers/machine_disks.h"
#include "drivers/service.h"
#include "drivers/vhost_user/block_server.h"

static struct served {
    const struct disk_options *options;
    struct block_device *disk;
    struct ext4 *fs; // that the disk is a file of
} served[OPTIONS_DISKS_MAX];
static unsigned served_count;

// The partition that the options name, or the whole disk. NULL with errno set.
static struct block_device *open_part(struct block_device *disk,
                                      const struct disk_options *options) {
    struct gpt_extent extent = {0, disk->sectors};
    int error = options->partition ? gpt_find(disk, options->partition, &extent) : 0;

    if (error) {
        errno = -error;
        return NULL;
    }
    return partition_create(disk, extent.first, extent.sectors, options->read_only);
}

static bool is_meant(const struct machine_disk *disk, const struct disk_options *options) {
    return (!options->has_unit || disk->unit == options->unit) &&
           (!options->serial || (strlen(options->serial) <= BLOCK_ID_SIZE &&
                                 strncmp(disk->device->id, options->serial, BLOCK_ID_SIZE) == 0));
}

// Of all disks that could be meant, exactly one must be: data is at stake.
static struct block_device *open_machine_disk(const struct disk_options *options) {
    struct block_device *found = NULL;
    int error = ENODEV;

    for (const struct machine_disk *disk = machine_disks(options->device); disk;
         disk = disk->next) {
        struct block_device *part =
            is_meant(disk, options) ? open_part(disk->device, options) : NULL;

        if (part && found) {
            errno = ENOTUNIQ;
            return NULL;
        }
        if (part)
            found = part;
        else if (is_meant(disk, options))
            error = errno;
    }
    errno = error;
    return found;
}

static struct block_device *open_image(const struct disk_options *options) {
    struct block_device *image = raw_file_open(options->path, options->read_only, -1);

    return image && options->partition ? open_part(image, options) : image;
}

static bool same(const char *one, const char *other) {
    return one == other || (one && other && strcmp(one, other) == 0);
}

// One file system is mounted once for all files that name it with the same words.
static struct ext4 *find_mounted(const struct disk_options *options) {
    for (unsigned i = 0; i < served_count; i++) {
        const struct disk_options *other = served[i].options;

        if (served[i].fs && same(other->path, options->path) &&
            same(other->device, options->device) && same(other->serial, options->serial) &&
            same(other->partition, options->partition) && other->has_unit == options->has_unit &&
            other->unit == options->unit)
            return served[i].fs;
    }
    return NULL;
}

static struct block_device *open_disk(struct served *disk, const struct disk_options *options) {
    struct block_device *whole = NULL;

    if (options->file)
        disk->fs = find_mounted(options);
    if (!disk->fs)
        whole = options->path ? open_image(options) : open_machine_disk(options);
    if (!options->file)
        return whole;
    if (whole)
        disk->fs = ext4_mount(whole, options->read_only);
    return disk->fs ? ext4_file_open(disk->fs, options->file, options->read_only) : NULL;
}

static void serve(const void *server, int socket) {
    const struct served *disk = server;

    block_server_run(disk->disk, disk->options->queues, socket);
}

static int start(const struct disk_options *options) {
    struct served *disk = &served[served_count];
    const char *name = options->path        ? options->path
                       : options->partition ? options->partition
                       : options->device    ? options->device
                                            : options->serial;

    disk->options = options;
    disk->disk = open_disk(disk, options);
    if (disk->disk && options->delay)
        disk->disk = slow_disk_create(disk->disk, options->delay);
    if (!disk->disk) {
        fprintf(stderr, "drivers: cannot use disk %s: %s\n", name,
                errno == ENOTUNIQ ? "more than one is called so" : strerror(errno));
        return -1;
    }
    served_count++;
    return service_start(options->socket, serve, disk);
}

int served_disks_start(const struct options *options) {
    for (unsigned i = 0; i < options->disk_count; i++)
        if (start(&options->disks[i]) < 0)
            return -1;
    return 0;
}

static const char *const operations[BLOCK_OPERATIONS] = {"read", "write", "flush", "discard",
                                                         "write_zeroes"};

static void print_family(FILE *out, const char *name, const char *help, size_t member,
                         double unit) {
    fprintf(out, "# HELP drivers_disk_%s %s\n# TYPE drivers_disk_%s counter\n", name, help, name);
    for (unsigned i = 0; i < served_count; i++) {
        for (unsigned operation = 0; operation < BLOCK_OPERATIONS; operation++) {
            const uint8_t *counters = (const uint8_t *)&served[i].disk->counters[operation];
            uint64_t value =
                __atomic_load_n((const uint64_t *)(counters + member), __ATOMIC_RELAXED);

            fprintf(out, "drivers_disk_%s{disk=\"%s\",operation=\"%s\"} %.15g\n", name,
                    served[i].options->socket, operations[operation], (double)value * unit);
        }
    }
}

void served_disks_print(FILE *out) {
    print_family(out, "requests_total", "Requests that are over.",
                 offsetof(struct block_counters, requests), 1);
    print_family(out, "errors_total", "Requests that failed.",
                 offsetof(struct block_counters, errors), 1);
    print_family(out, "bytes_total", "Bytes of requests that succeeded.",
                 offsetof(struct block_counters, bytes), 1);
    print_family(out, "seconds_total", "Time from each request's beginning to its end.",
                 offsetof(struct block_counters, nanoseconds), 1e-9);
}
