// SPDX-License-Identifier: BSD-2-Clause
// Metric families of the host and of its domains. Names follow Prometheus's conventions: base
// units, counters end in _total.
#define _GNU_SOURCE
#include "metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "capabilities.h"
#include "domain.h"
#include "domain_xml.h"
#include "host.h"
#include "memory.h"
#include "session.h"
#include "statistics.h"
#include "vmm.h"

static const char request[] = "GET ";

bool metrics_is_request(const uint8_t *data, size_t length) {
    return length && memcmp(data, request, length < sizeof(request) - 1 ? length : 4) == 0;
}

size_t metrics_request_length(const uint8_t *data, size_t length) {
    const uint8_t *end = memmem(data, length, "\r\n\r\n", 4);

    return end ? (size_t)(end + 4 - data) : 0;
}

static void family(struct buffer *to, const char *name, const char *type, const char *help) {
    buffer_print(to, "# HELP ashlar_%s %s\n# TYPE ashlar_%s %s\n", name, help, name, type);
}

static double seconds(uint64_t ns) {
    return (double)ns / 1e9;
}

// --- the host ------------------------------------------------------------------------------------

static void print_host(struct buffer *to) {
    struct host_cpu cpu;

    family(to, "cpu_seconds_total", "counter",
           "Time of each processor: idle, of virtual CPUs, and other.");
    for (int i = 0; host_cpu(i, &cpu); i++) {
        buffer_print(to,
                     "ashlar_cpu_seconds_total{cpu=\"%d\",mode=\"idle\"} %.2f\n"
                     "ashlar_cpu_seconds_total{cpu=\"%d\",mode=\"guest\"} %.2f\n"
                     "ashlar_cpu_seconds_total{cpu=\"%d\",mode=\"busy\"} %.2f\n",
                     i, seconds(cpu.idle + cpu.iowait), i, seconds(cpu.guest), i,
                     seconds(cpu.user + cpu.system - cpu.guest));
    }
    family(to, "memory_bytes", "gauge", "Memory of the machine.");
    buffer_print(to, "ashlar_memory_bytes %" PRIu64 "\n", host_memory("MemTotal") * 1024);
    family(to, "memory_free_bytes", "gauge", "Memory that nobody has.");
    buffer_print(to, "ashlar_memory_free_bytes %" PRIu64 "\n", host_memory("MemFree") * 1024);
    family(to, "memory_kernel_bytes", "gauge", "Memory that the kernel keeps for itself.");
    buffer_print(to, "ashlar_memory_kernel_bytes %" PRIu64 "\n", host_memory("Slab") * 1024);
}

// --- domains -------------------------------------------------------------------------------------

// Names of domains may have quotes in them.
static char *label_of(const struct domain *domain) {
    struct buffer label = {0};

    for (const char *at = domain->name; *at; at++) {
        buffer_print(&label, strchr("\\\"", *at) ? "\\%c" : "%c", *at);
    }
    return buffer_take_string(&label);
}

typedef void printer(struct buffer *to, const char *label, const struct snapshot *snapshot,
                     const struct domain *domain);

static void print_state(struct buffer *to, const char *label, const struct snapshot *snapshot,
                        const struct domain *domain) {
    (void)snapshot;
    buffer_print(to, "ashlar_domain_state{domain=\"%s\"} %d\n", label, (int)domain->state);
}

static void print_memory(struct buffer *to, const char *label, const struct snapshot *snapshot,
                         const struct domain *domain) {
    buffer_print(to, "ashlar_domain_memory_bytes{domain=\"%s\"} %" PRIu64 "\n", label,
                 snapshot_memory(snapshot, domain) * 1024);
}

static void print_vcpus(struct buffer *to, const char *name, const char *key, const char *label,
                        const struct snapshot *snapshot, const struct domain *domain) {
    for (unsigned i = 0; domain->vmm && i < domain->vmm->vcpus; i++) {
        buffer_print(to, "ashlar_domain_vcpu_%s{domain=\"%s\",vcpu=\"%u\"} %.9f\n", name, label, i,
                     seconds(snapshot_number(snapshot, domain, 0, "vcpu.%u.%s", i, key)));
    }
}

static void print_times(struct buffer *to, const char *label, const struct snapshot *snapshot,
                        const struct domain *domain) {
    print_vcpus(to, "seconds_total", "time", label, snapshot, domain);
}

static void print_waits(struct buffer *to, const char *label, const struct snapshot *snapshot,
                        const struct domain *domain) {
    print_vcpus(to, "wait_seconds_total", "wait", label, snapshot, domain);
}

struct exits {
    struct buffer *to;
    const char *label;
    unsigned vcpu;
};

static void print_exit(const char *name, uint64_t value, void *context) {
    const struct exits *exits = context;

    buffer_print(exits->to,
                 "ashlar_domain_vcpu_events_total{domain=\"%s\",vcpu=\"%u\",event=\"%s\"} %" PRIu64
                 "\n",
                 exits->label, exits->vcpu, name, value);
}

static void print_exits(struct buffer *to, const char *label, const struct snapshot *snapshot,
                        const struct domain *domain) {
    for (unsigned i = 0; domain->vmm && i < domain->vmm->vcpus; i++) {
        struct exits exits = {to, label, i};

        snapshot_each_counter(snapshot, domain, i, print_exit, &exits);
    }
}

// A counter of disks for each of three operations, whose members are `first`, ... of
// snapshot_block's; -1: not kept.
static void print_disks(struct buffer *to, const char *name, const int members[3], double unit,
                        const char *label, const struct snapshot *snapshot,
                        const struct domain *domain) {
    static const char *const operations[] = {"read", "write", "flush"};
    uint64_t counters[BLOCK_COUNTERS];

    for (const struct xml *disk = first_device(domain, "disk"); disk && domain->vmm;
         disk = xml_next(disk)) {
        snapshot_block(snapshot, domain, disk, counters);
        for (unsigned i = 0; i < 3; i++) {
            if (members[i] >= 0) {
                buffer_print(
                    to,
                    "ashlar_domain_block_%s{domain=\"%s\",device=\"%s\",operation=\"%s\"} %.9g\n",
                    name, label, xml_get(disk, "target@dev"), operations[i],
                    (double)counters[members[i]] * unit);
            }
        }
    }
}

static void print_requests(struct buffer *to, const char *label, const struct snapshot *snapshot,
                           const struct domain *domain) {
    print_disks(to, "requests_total", (const int[]){0, 3, 6}, 1, label, snapshot, domain);
}

static void print_disk_bytes(struct buffer *to, const char *label, const struct snapshot *snapshot,
                             const struct domain *domain) {
    print_disks(to, "bytes_total", (const int[]){1, 4, -1}, 1, label, snapshot, domain);
}

static void print_disk_times(struct buffer *to, const char *label, const struct snapshot *snapshot,
                             const struct domain *domain) {
    print_disks(to, "seconds_total", (const int[]){2, 5, 7}, 1e-9, label, snapshot, domain);
}

// What snapshot_net has at `member` and, sent, four further.
static void print_nets(struct buffer *to, const char *name, unsigned member, const char *label,
                       const struct snapshot *snapshot, const struct domain *domain) {
    uint64_t counters[NET_COUNTERS];

    for (const struct xml *device = first_device(domain, "interface"); device && domain->vmm;
         device = xml_next(device)) {
        const char *target = xml_get(device, "target@dev");

        snapshot_net(snapshot, device, counters);
        for (unsigned sent = 0; sent < 2; sent++) {
            buffer_print(to,
                         "ashlar_domain_interface_%s_total{domain=\"%s\",device=\"%s\","
                         "direction=\"%s\"} %" PRIu64 "\n",
                         name, label, target ? target : xml_get(device, "mac@address"),
                         sent ? "transmit" : "receive", counters[member + 4 * sent]);
        }
    }
}

static void print_net_bytes(struct buffer *to, const char *label, const struct snapshot *snapshot,
                            const struct domain *domain) {
    print_nets(to, "bytes", 0, label, snapshot, domain);
}

static void print_packets(struct buffer *to, const char *label, const struct snapshot *snapshot,
                          const struct domain *domain) {
    print_nets(to, "packets", 1, label, snapshot, domain);
}

static const struct {
    const char *name, *type, *help;
    printer *print;
} families[] = {
    {"domain_state", "gauge", "State by libvirt's numbers: 1 running, 3 paused, 5 off, 6 crashed.",
     print_state},
    {"domain_memory_bytes", "gauge", "Memory the guest has.", print_memory},
    {"domain_vcpu_seconds_total", "counter", "Time a virtual CPU has run.", print_times},
    {"domain_vcpu_wait_seconds_total", "counter", "Time a virtual CPU has waited for a processor.",
     print_waits},
    {"domain_vcpu_events_total", "counter", "Exits of a virtual CPU by reason, and other events.",
     print_exits},
    {"domain_block_requests_total", "counter", "Requests to a disk.", print_requests},
    {"domain_block_bytes_total", "counter", "Bytes read and written.", print_disk_bytes},
    {"domain_block_seconds_total", "counter", "Time of requests to a disk.", print_disk_times},
    {"domain_interface_bytes_total", "counter", "Bytes of frames.", print_net_bytes},
    {"domain_interface_packets_total", "counter", "Frames.", print_packets},
};

static void answer(const struct snapshot *snapshot, void *context) {
    uint64_t id = *(uint64_t *)context;
    struct session *session = session_find(id);
    struct buffer text = {0}, head = {0};

    free(context);
    if (!session) {
        return;
    }
    print_host(&text);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        family(&text, families[i].name, families[i].type, families[i].help);
        for (const struct domain *domain = domains; domain; domain = domain->next) {
            char *label = label_of(domain);
            families[i].print(&text, label, snapshot, domain);
            free(label);
        }
    }
    buffer_print(&head,
                 "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 text.length);
    buffer_append(&head, text.data, text.length);
    session_write(session, head.data, head.length);
    buffer_free(&head);
    buffer_free(&text);
}

void metrics_answer(struct session *session) {
    uint64_t *id = allocate(sizeof(*id));

    *id = session->id;
    statistics_gather(NULL, answer, id);
}
