// SPDX-License-Identifier: BSD-2-Clause
// Which devices there are: those of the options in the order of their slots, then what is plugged.
#include "devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "error.h"
#include "device_options.h"
#include "vhost_user.h"
#include "virtio.h"
#include "virtio_balloon.h"
#include "virtio_block.h"
#include "virtio_channels.h"
#include "virtio_console.h"
#include "virtio_input.h"
#include "virtio_rng.h"
#include "vm.h"

static void add(struct vm *vm, struct virtio_device *device, const char *id) {
    device->id = id;
    vm->devices.all[vm->devices.count++] = device;
}

static void add_for_good(struct vm *vm, struct virtio_device *device) {
    add(vm, device, NULL);
    vm->slots &= ~(1u << device->slot);
}

static struct virtio_device *create_disk(struct vm *vm, const struct disk_options *disk) {
    return disk->socket ? vhost_user_block_create(vm, disk) : virtio_block_create(vm, disk);
}

void devices_create(struct vm *vm) {
    const struct options *options = vm->options;

    vm->slots = ~1u; // all but the host bridge's
    if (options->console != SERIAL_OFF) {
        add_for_good(vm, virtio_console_create(vm, options->console != SERIAL_NULL));
    }
    if (options->channel_count) {
        vm->devices.channels = virtio_channels_create(vm, options);
        add_for_good(vm, vm->devices.channels);
    }
    if (options->keyboard) {
        add_for_good(vm, virtio_input_create(vm));
    }
    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct disk_options *disk = &options->disks[i];
        struct virtio_device *device = create_disk(vm, disk);

        if (!device) {
            fatal_errno("cannot use disk %s", disk->socket ? disk->socket : disk->path);
        }
        add(vm, device, disk->id);
    }
    for (unsigned i = 0; i < options->net_count; i++) {
        struct virtio_device *device = vhost_user_net_create(vm, &options->nets[i]);

        if (!device) {
            fatal_errno("cannot use the network at %s", options->nets[i].socket);
        }
        add(vm, device, options->nets[i].id);
    }
    if (options->rng) {
        add_for_good(vm, virtio_rng_create(vm, options->rng));
    }
    if (options->balloon.present) {
        add_for_good(vm, virtio_balloon_create(vm, options->balloon.bytes,
                                               options->balloon.deflate_on_oom,
                                               options->balloon.free_page_reporting));
    }
}

void devices_destroy(struct devices *devices) {
    for (unsigned i = 0; i < devices->count; i++) {
        devices->all[i]->class->destroy(devices->all[i]);
    }
}

static struct virtio_device *find(const struct devices *devices, const char *id) {
    for (unsigned i = 0; i < devices->count; i++) {
        if (devices->all[i]->id && strcmp(devices->all[i]->id, id) == 0) {
            return devices->all[i];
        }
    }
    return NULL;
}

// What both kinds need; then the device is made.
static const char *refusal_of(const struct vm *vm, const char *id, const char *socket) {
    if (vm->devices.count == PCI_DEVICES_MAX - 1) {
        return "all slots have devices";
    }
    if (id && find(&vm->devices, id)) {
        return "there is a device of this id";
    }
    return socket && vm->memory.fd < 0
               ? "the machine's memory is not shared: only one that is started with a vhost-user "
                 "device takes others"
               : NULL;
}

static const char *plug(struct vm *vm, struct virtio_device *device, const char *id) {
    if (!device) {
        return strerror(errno);
    }
    add(vm, device, id);
    hotplug_notify(&vm->hotplug, device->slot, NOTIFY_DEVICE_CHECK);
    return NULL;
}

const char *devices_add_disk(struct vm *vm, char *argument, int fd) {
    struct options *options = vm->options;
    const char *refusal = options_try(parse_disk, options, argument);

    if (refusal) {
        return refusal;
    }
    struct disk_options *disk = &options->disks[options->disk_count - 1];
    disk->fd = fd;
    disk->argument = argument;
    refusal = refusal_of(vm, disk->id, disk->socket);
    refusal = refusal ? refusal : plug(vm, create_disk(vm, disk), disk->id);
    options->disk_count -= refusal != NULL;
    return refusal;
}

const char *devices_add_net(struct vm *vm, char *argument, int fd) {
    struct options *options = vm->options;
    const char *refusal = options_try(parse_net, options, argument);

    if (refusal) {
        return refusal;
    }
    struct net_options *net = &options->nets[options->net_count - 1];
    net->argument = argument;
    refusal = fd >= 0 ? "an interface takes no file" : refusal_of(vm, net->id, net->socket);
    refusal = refusal ? refusal : plug(vm, vhost_user_net_create(vm, net), net->id);
    options->net_count -= refusal != NULL;
    return refusal;
}

const char *devices_remove(struct vm *vm, const char *id) {
    const struct virtio_device *device = find(&vm->devices, id);

    if (!device) {
        return "there is no device of this id";
    }
    hotplug_notify(&vm->hotplug, device->slot, NOTIFY_EJECT_REQUEST);
    return NULL;
}

static void forget_options(struct options *options, const char *id) {
    for (unsigned i = 0; i < options->disk_count; i++) {
        struct disk_options *disk = &options->disks[i];

        if (disk->id == id) {
            if (disk->fd >= 0) {
                close(disk->fd);
            }
            free(disk->argument);
            memmove(disk, disk + 1, (--options->disk_count - i) * sizeof(*disk));
            return;
        }
    }
    for (unsigned i = 0; i < options->net_count; i++) {
        struct net_options *net = &options->nets[i];

        if (net->id == id) {
            free(net->argument);
            memmove(net, net + 1, (--options->net_count - i) * sizeof(*net));
            return;
        }
    }
}

void devices_end_ejected(struct vm *vm) {
    struct devices *devices = &vm->devices;
    unsigned kept = 0, refused = atomic_exchange(&devices->refused, 0);

    for (unsigned i = 0; i < devices->count; i++) {
        struct virtio_device *device = devices->all[i];
        const char *id = device->id;
        bool stays = vm->pci.devices[device->slot] == &device->pci;
        char event[128];

        if (id && (!stays || refused >> device->slot & 1)) {
            snprintf(event, sizeof(event), "device-%s %s", stays ? "removal-failed" : "removed",
                     id);
            control_event(event);
        }
        if (stays) {
            devices->all[kept++] = device;
            continue;
        }
        device->class->destroy(device);
        if (id) {
            forget_options(vm->options, id);
        }
    }
    devices->count = kept;
}
