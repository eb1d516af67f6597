// SPDX-License-Identifier: BSD-2-Clause
// drivers: serves disks and networks to guests by vhost-user.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/block/raw_file.h"
#include "drivers/net/networks.h"
#include "drivers/options.h"
#include "drivers/service.h"
#include "drivers/vhost_user/block_server.h"
#include "drivers/vhost_user/shared_mapping.h"

struct disk {
    struct block_device *device;
    unsigned queues;
};

static void serve_disk(const void *server, int socket) {
    const struct disk *disk = server;

    block_server_run(disk->device, disk->queues, socket);
}

static int start_disk(const struct disk_options *options) {
    struct disk *disk = malloc(sizeof(*disk));

    if (disk)
        *disk = (struct disk){raw_file_open(options->path, options->read_only), options->queues};
    if (!disk || !disk->device) {
        fprintf(stderr, "drivers: cannot use disk image %s: %s\n", options->path, strerror(errno));
        free(disk);
        return -1;
    }
    return service_start(options->socket, serve_disk, disk);
}

int main(int argc, char **argv) {
    struct options options;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    shared_mapping_init();
    options_parse(&options, argc, argv);
    for (unsigned i = 0; i < options.disk_count; i++)
        if (start_disk(&options.disks[i]) < 0)
            return 1;
    if (networks_start(&options) < 0)
        return 1;
    // Who waits for the sockets may go on.
    printf("drivers: serving %u disks, %u network ports\n", options.disk_count, options.net_count);
    for (;;)
        pause();
}
