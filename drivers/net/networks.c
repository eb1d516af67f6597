// SPDX-License-Identifier: BSD-2-Clause
// Switches by name, and what each port has counted.
#include "drivers/net/networks.h"

#include <stdlib.h>
#include <string.h>

#include "drivers/net/nic.h"
#include "drivers/service.h"
#include "drivers/vhost_user/net_server.h"

#define PORTS_MAX (OPTIONS_NETS_MAX + OPTIONS_NICS_MAX)

static struct {
    const char *name;
    struct net_switch *bridge;
} switches[PORTS_MAX];

static struct {
    const char *name; // of the socket or device
    struct net_counters counters;
} ports[PORTS_MAX];
static unsigned port_count;

static struct net_switch *find_switch(const char *name) {
    unsigned i = 0;

    while (switches[i].name && strcmp(switches[i].name, name) != 0)
        i++;
    if (!switches[i].name) {
        switches[i].name = name;
        switches[i].bridge = net_switch_create();
    }
    return switches[i].bridge;
}

static void serve(const void *server, int socket) {
    net_server_run(server, socket);
}

static struct net_counters *count(const char *name) {
    ports[port_count].name = name;
    return &ports[port_count++].counters;
}

static int start_net(const struct net_options *options) {
    struct net_server *server = malloc(sizeof(*server));
    struct net_switch *bridge = find_switch(options->bridge);

    if (!server || !bridge) {
        fprintf(stderr, "drivers: out of memory\n");
        free(server);
        return -1;
    }
    *server = (struct net_server){.bridge = bridge,
                                  .mac = options->has_mac ? options->mac : NULL,
                                  .queues = options->queues,
                                  .counters = count(options->socket)};
    return service_start(options->socket, serve, server);
}

int networks_start(const struct options *options) {
    for (unsigned i = 0; i < options->net_count; i++)
        if (start_net(&options->nets[i]) < 0)
            return -1;
    for (unsigned i = 0; i < options->nic_count; i++) {
        struct net_switch *bridge = find_switch(options->nics[i].bridge);

        if (!bridge)
            return -1;
        struct net_counters *counters = count(NULL);
        const char *address = nic_start(options->nics[i].device, bridge, counters);
        if (address)
            ports[port_count - 1].name = address;
        else
            port_count--;
    }
    return 0;
}

void networks_print(FILE *out) {
    static const char *const names[] = {"rx_packets", "rx_bytes", "rx_errors", "rx_dropped",
                                        "tx_packets", "tx_bytes", "tx_errors", "tx_dropped"};

    _Static_assert(sizeof(struct net_counters) == sizeof(names) / sizeof(names[0]) * 8, "counters");
    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        fprintf(out,
                "# HELP drivers_net_%s_total As the port's user counts.\n"
                "# TYPE drivers_net_%s_total counter\n",
                names[n], names[n]);
        for (unsigned i = 0; i < port_count; i++)
            fprintf(out, "drivers_net_%s_total{port=\"%s\"} %llu\n", names[n], ports[i].name,
                    (unsigned long long)__atomic_load_n((uint64_t *)&ports[i].counters + n,
                                                        __ATOMIC_RELAXED));
    }
}
