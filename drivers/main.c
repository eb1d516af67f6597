// SPDX-License-Identifier: BSD-2-Clause
// drivers: serves disks and networks to guests by vhost-user.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/machine_disks.h"
#include "drivers/net/networks.h"
#include "drivers/options.h"
#include "drivers/sandbox/sandbox.h"
#include "drivers/served_disks.h"
#include "drivers/statistics.h"
#include "drivers/vhost_user/shared_mapping.h"

// The disks and networks of guests reach this program: it keeps to what its command line names and
// to the machine's devices.
static void confine(const struct options *options) {
    struct sandbox sandbox;

    sandbox_open(&sandbox);
    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct disk_options *disk = &options->disks[i];

        sandbox_allow_place(&sandbox, disk->socket, SANDBOX_MAKE);
        if (disk->path)
            sandbox_allow(&sandbox, disk->path,
                          disk->read_only ? SANDBOX_READ : SANDBOX_READ | SANDBOX_WRITE);
    }
    for (unsigned i = 0; i < options->net_count; i++)
        sandbox_allow_place(&sandbox, options->nets[i].socket, SANDBOX_MAKE);
    if (options->statistics)
        sandbox_allow_place(&sandbox, options->statistics, SANDBOX_MAKE);
    if (access("/dev/vfio", F_OK) == 0) {
        sandbox_allow(&sandbox, "/dev/vfio", SANDBOX_READ | SANDBOX_WRITE);
        sandbox_allow(&sandbox, "/sys", SANDBOX_READ);
        if (access("/proc/self/pagemap", F_OK) == 0) // not needed, nor there, with an IOMMU
            sandbox_allow(&sandbox, "/proc/self/pagemap", SANDBOX_READ);
    }
    int error = sandbox_enter(&sandbox);
    if (error) {
        fprintf(stderr, "drivers: --landlock: %s%s%s\n", sandbox.failed ? sandbox.failed : "",
                sandbox.failed ? ": " : "", strerror(-error));
        exit(1);
    }
}

int main(int argc, char **argv) {
    static const statistics_writer writers[] = {served_disks_print, networks_print, NULL};
    static struct options options;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    shared_mapping_init();
    options_parse(&options, argc, argv);
    if (options.landlock)
        confine(&options);
    if (served_disks_start(&options) < 0 || networks_start(&options) < 0 ||
        (options.statistics && statistics_start(options.statistics, writers) < 0))
        return 1;
    // Who waits for the sockets may go on.
    printf("drivers: serving %u disks, %u network ports\n", options.disk_count, options.net_count);
    if (options.list)
        machine_disks_list(stdout);
    if (options.list && !options.disk_count && !options.net_count)
        return 0;
    for (;;)
        pause();
}
