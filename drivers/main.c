// SPDX-License-Identifier: BSD-2-Clause
// drivers: serves disks and networks to guests by vhost-user.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "drivers/net/networks.h"
#include "drivers/options.h"
#include "drivers/served_disks.h"
#include "drivers/statistics.h"
#include "drivers/vhost_user/shared_mapping.h"

int main(int argc, char **argv) {
    static const statistics_writer writers[] = {served_disks_print, networks_print, NULL};
    static struct options options;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    shared_mapping_init();
    options_parse(&options, argc, argv);
    if (served_disks_start(&options) < 0 || networks_start(&options) < 0 ||
        (options.statistics && statistics_start(options.statistics, writers) < 0))
        return 1;
    // Who waits for the sockets may go on.
    printf("drivers: serving %u disks, %u network ports\n", options.disk_count, options.net_count);
    for (;;)
        pause();
}
