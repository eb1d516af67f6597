// SPDX-License-Identifier: BSD-2-Clause
// Which paths the command line names, and what is done with each.
#include "confine.h"

#include <errno.h>
#include <string.h>

#include "drivers/sandbox/sandbox.h"
#include "error.h"

static void allow_devices(struct sandbox *sandbox, const struct options *options) {
    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct disk_options *disk = &options->disks[i];

        if (disk->path) {
            sandbox_allow(sandbox, disk->path,
                          disk->read_only ? SANDBOX_READ : SANDBOX_READ | SANDBOX_WRITE);
        } else {
            sandbox_allow_place(sandbox, disk->socket, SANDBOX_WRITE);
        }
    }
    for (unsigned i = 0; i < options->net_count; i++) {
        sandbox_allow_place(sandbox, options->nets[i].socket, SANDBOX_WRITE);
    }
    for (unsigned i = 0; i < options->channel_count; i++) {
        sandbox_allow_place(sandbox, options->channels[i].socket, SANDBOX_MAKE);
    }
    if (options->rng) {
        sandbox_allow(sandbox, options->rng, SANDBOX_READ);
    }
}

void confine(const struct options *options) {
    struct sandbox sandbox;

    sandbox_open(&sandbox);
    sandbox_allow(&sandbox, options->kernel, SANDBOX_READ);
    if (options->initrd) {
        sandbox_allow(&sandbox, options->initrd, SANDBOX_READ);
    }
    if (options->api_socket) {
        sandbox_allow_place(&sandbox, options->api_socket, SANDBOX_MAKE);
        sandbox_allow(&sandbox, "/proc", SANDBOX_READ); // the times of vCPUs
    }
    if (options->serial_path) {
        sandbox_allow_place(&sandbox, options->serial_path, SANDBOX_WRITE | SANDBOX_MAKE);
    }
    sandbox_allow(&sandbox, "/dev/kvm", SANDBOX_READ | SANDBOX_WRITE);
    allow_devices(&sandbox, options);
    int error = sandbox_enter(&sandbox);
    if (error) {
        fatal("--landlock: %s%s%s", sandbox.failed ? sandbox.failed : "",
              sandbox.failed ? ": " : "", strerror(-error));
    }
}
