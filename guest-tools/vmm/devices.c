// SPDX-License-Identifier: BSD-2-Clause
// Which devices there are, in the order of their slots.
#include "devices.h"

#include <string.h>

#include "vhost_user.h"
#include "virtio_balloon.h"
#include "virtio_block.h"
#include "virtio_channels.h"
#include "virtio_console.h"
#include "virtio_input.h"
#include "virtio_rng.h"
#include "vm.h"

void devices_create(struct vm *vm, const struct options *options) {
    struct devices *devices = &vm->devices;

    if (options->console != SERIAL_OFF) {
        devices->console = virtio_console_create(vm, options->console != SERIAL_NULL);
    }
    if (options->channel_count) {
        devices->channels = virtio_channels_create(vm, options);
    }
    if (options->keyboard) {
        devices->keyboard = virtio_input_create(vm);
    }
    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct disk_options *disk = &options->disks[i];

        if (disk->socket) {
            devices->others[devices->other_count++] = vhost_user_block_create(vm, disk);
        } else {
            devices->blocks[devices->block_count++] =
                virtio_block_create(vm, disk->path, disk->read_only);
        }
    }
    for (unsigned i = 0; i < options->net_count; i++) {
        devices->others[devices->other_count++] = vhost_user_net_create(vm, &options->nets[i]);
    }
    if (options->rng) {
        devices->rng = virtio_rng_create(vm, options->rng);
    }
    if (options->balloon.present) {
        devices->balloon =
            virtio_balloon_create(vm, options->balloon.bytes, options->balloon.deflate_on_oom,
                                  options->balloon.free_page_reporting);
    }
}

void devices_destroy(struct devices *devices) {
    if (devices->console) {
        virtio_console_destroy(devices->console);
    }
    if (devices->channels) {
        virtio_channels_destroy(devices->channels);
    }
    if (devices->keyboard) {
        virtio_input_destroy(devices->keyboard);
    }
    for (unsigned i = 0; i < devices->block_count; i++) {
        virtio_block_destroy(devices->blocks[i]);
    }
    for (unsigned i = 0; i < devices->other_count; i++) {
        vhost_user_destroy(devices->others[i]);
    }
    if (devices->rng) {
        virtio_rng_destroy(devices->rng);
    }
    if (devices->balloon) {
        virtio_balloon_destroy(devices->balloon);
    }
    memset(devices, 0, sizeof(*devices));
}
