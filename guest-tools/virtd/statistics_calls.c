// SPDX-License-Identifier: BSD-2-Clause
// Statistics of domains. Names and numbers of parameters are libvirt's (libvirt-domain.h).
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "call.h"
#include "capabilities.h"
#include "domain.h"
#include "domain_xml.h"
#include "memory.h"
#include "resources.h"
#include "statistics.h"
#include "vmm.h"

// What virDomainInterfaceStats and the typed parameters have, in the order of snapshot_net.
static const char *const net_names[NET_COUNTERS] = {"rx.bytes", "rx.pkts", "rx.errs", "rx.drop",
                                                    "tx.bytes", "tx.pkts", "tx.errs", "tx.drop"};
static const struct {
    const char *in_domstats, *alone;
} block_names[BLOCK_COUNTERS] = {
    {"rd.reqs", "rd_operations"},    {"rd.bytes", "rd_bytes"},
    {"rd.times", "rd_total_times"},  {"wr.reqs", "wr_operations"},
    {"wr.bytes", "wr_bytes"},        {"wr.times", "wr_total_times"},
    {"fl.reqs", "flush_operations"}, {"fl.times", "flush_total_times"},
};
// In the order of VIRTIO_BALLOON_S_*: names in domstats, tags of virDomainMemoryStats, and whether
// the value is bytes.
static const struct {
    const char *from, *name;
    uint32_t tag;
    bool bytes;
} balloon_names[] = {
    {"swap-in", "swap_in", 0, true},
    {"swap-out", "swap_out", 1, true},
    {"major-faults", "major_fault", 2, false},
    {"minor-faults", "minor_fault", 3, false},
    {"free-memory", "unused", 4, true},
    {"total-memory", "available", 5, true},
    {"available-memory", "usable", 8, true},
    {"disk-caches", "disk_caches", 10, true},
    {"hugetlb-allocations", "hugetlb_pgalloc", 11, false},
    {"hugetlb-failures", "hugetlb_pgfail", 12, false},
};
enum {
    BALLOON_NAMES = sizeof(balloon_names) / sizeof(balloon_names[0]),
    MEMORY_ACTUAL = 6,
    MEMORY_RSS = 7
};

// --- typed parameters whose number stands before them ------------------------------------------

struct parameters {
    struct buffer bytes;
    uint32_t count;
};

static void put(struct parameters *to, enum parameter_type type, uint64_t value, const char *format,
                ...) __attribute__((format(printf, 4, 5)));
static void put(struct parameters *to, enum parameter_type type, uint64_t value, const char *format,
                ...) {
    char name[80];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    xdr_put_parameter(&to->bytes, name, type, value);
    to->count++;
}

static void put_string(struct parameters *to, const char *value, const char *kind, unsigned number,
                       const char *suffix) {
    char name[80];

    snprintf(name, sizeof(name), "%s.%u.%s", kind, number, suffix);
    xdr_put_string_parameter(&to->bytes, name, value);
    to->count++;
}

// --- domstats ------------------------------------------------------------------------------------

static void put_state(struct parameters *to, const struct snapshot *snapshot,
                      const struct domain *domain) {
    (void)snapshot;
    put(to, PARAMETER_INT, domain->state, "state.state");
    put(to, PARAMETER_INT, domain->reason, "state.reason");
}

static void put_cpu(struct parameters *to, const struct snapshot *snapshot,
                    const struct domain *domain) {
    if (domain->vmm) {
        put(to, PARAMETER_ULLONG, snapshot_cpu_time(snapshot, domain), "cpu.time");
    }
}

static void put_balloon(struct parameters *to, const struct snapshot *snapshot,
                        const struct domain *domain) {
    put(to, PARAMETER_ULLONG, snapshot_memory(snapshot, domain), "balloon.current");
    put(to, PARAMETER_ULLONG, domain_memory(domain_xml(domain)), "balloon.maximum");
    for (unsigned i = 0; i < BALLOON_NAMES; i++) {
        uint64_t value =
            snapshot_number(snapshot, domain, UINT64_MAX, "balloon.%s", balloon_names[i].from);
        if (value != UINT64_MAX) {
            put(to, PARAMETER_ULLONG, balloon_names[i].bytes ? value / 1024 : value, "balloon.%s",
                balloon_names[i].name);
        }
    }
}

struct counter_context {
    struct parameters *to;
    unsigned vcpu;
};

static void put_counter(const char *name, uint64_t value, void *context) {
    struct counter_context *counter = context;

    put(counter->to, PARAMETER_ULLONG, value, "vcpu.%u.%s.sum", counter->vcpu, name);
}

static void put_vcpus(struct parameters *to, const struct snapshot *snapshot,
                      const struct domain *domain) {
    enum { RUNNING = 1 };

    put(to, PARAMETER_UINT, domain_vcpus(domain_xml(domain)), "vcpu.current");
    put(to, PARAMETER_UINT, domain_max_vcpus(domain_xml(domain)), "vcpu.maximum");
    for (unsigned i = 0; domain->vmm && i < domain->vmm->vcpus; i++) {
        struct counter_context context = {to, i};

        put(to, PARAMETER_INT, RUNNING, "vcpu.%u.state", i);
        put(to, PARAMETER_ULLONG, snapshot_number(snapshot, domain, 0, "vcpu.%u.time", i),
            "vcpu.%u.time", i);
        put(to, PARAMETER_ULLONG, snapshot_number(snapshot, domain, 0, "vcpu.%u.wait", i),
            "vcpu.%u.wait", i);
        snapshot_each_counter(snapshot, domain, i, put_counter, &context);
    }
}

static unsigned count_devices(const struct domain *domain, const char *kind) {
    unsigned count = 0;

    for (const struct xml *device = first_device(domain, kind); device; device = xml_next(device)) {
        count++;
    }
    return count;
}

static void put_nets(struct parameters *to, const struct snapshot *snapshot,
                     const struct domain *domain) {
    uint64_t counters[NET_COUNTERS];
    unsigned number = 0;

    if (!domain->vmm) {
        return;
    }
    put(to, PARAMETER_UINT, count_devices(domain, "interface"), "net.count");
    for (const struct xml *device = first_device(domain, "interface"); device;
         device = xml_next(device), number++) {
        const char *name = xml_get(device, "target@dev");

        put_string(to, name ? name : xml_get(device, "mac@address"), "net", number, "name");
        snapshot_net(snapshot, device, counters);
        for (unsigned i = 0; i < NET_COUNTERS; i++) {
            put(to, PARAMETER_ULLONG, counters[i], "net.%u.%s", number, net_names[i]);
        }
    }
}

// Of the file or device, 0 where it cannot be told.
static uint64_t capacity_of(const char *path, uint64_t *allocated) {
    struct stat status = {0};

    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode)) {
        status = (struct stat){0};
    }
    *allocated = (uint64_t)status.st_blocks * 512;
    return (uint64_t)status.st_size;
}

static void put_blocks(struct parameters *to, const struct snapshot *snapshot,
                       const struct domain *domain) {
    uint64_t counters[BLOCK_COUNTERS], allocated, capacity;
    unsigned number = 0;

    put(to, PARAMETER_UINT, count_devices(domain, "disk"), "block.count");
    for (const struct xml *disk = first_device(domain, "disk"); disk;
         disk = xml_next(disk), number++) {
        put_string(to, xml_get(disk, "target@dev"), "block", number, "name");
        put_string(to, device_source(disk), "block", number, "path");
        snapshot_block(snapshot, domain, disk, counters);
        for (unsigned i = 0; domain->vmm && i < BLOCK_COUNTERS; i++) {
            put(to, PARAMETER_ULLONG, counters[i], "block.%u.%s", number,
                block_names[i].in_domstats);
        }
        capacity = capacity_of(device_source(disk), &allocated);
        if (capacity) {
            put(to, PARAMETER_ULLONG, allocated, "block.%u.allocation", number);
            put(to, PARAMETER_ULLONG, capacity, "block.%u.capacity", number);
            put(to, PARAMETER_ULLONG, capacity, "block.%u.physical", number);
        }
    }
}

// virDomainStatsTypes.
static const struct {
    uint32_t bit;
    void (*put)(struct parameters *to, const struct snapshot *snapshot,
                const struct domain *domain);
} groups[] = {
    {1 << 0, put_state}, {1 << 1, put_cpu},  {1 << 2, put_balloon},
    {1 << 3, put_vcpus}, {1 << 4, put_nets}, {1 << 5, put_blocks},
};

struct query {
    struct call *call;
    uint8_t uuid[UUID_BYTES]; // of the domain asked for
    char *device;
    uint32_t groups, flags, count;
    uint8_t *uuids; // of domstats; NULL: of all domains
};

static void free_query(struct query *query) {
    free(query->device);
    free(query->uuids);
    free(query);
}

static bool is_asked_for(const struct query *query, const struct domain *domain) {
    // virConnectGetAllDomainStatsFlags: pairs and triples, of which an empty one asks for all.
    enum { ACTIVE = 1, PERSISTENT = 4, RUNNING = 16, PAUSED = 32, SHUTOFF = 64, OTHER = 128 };
    const uint32_t has = (domain->id >= 0 ? ACTIVE : ACTIVE << 1) |
                         (domain->config ? PERSISTENT : PERSISTENT << 1) |
                         (domain->state == STATE_RUNNING   ? RUNNING
                          : domain->state == STATE_PAUSED  ? PAUSED
                          : domain->state == STATE_SHUTOFF ? SHUTOFF
                                                           : OTHER);
    static const uint32_t sets[] = {ACTIVE * 3, PERSISTENT * 3, RUNNING | PAUSED | SHUTOFF | OTHER};
    bool listed = !query->uuids;

    for (uint32_t i = 0; query->uuids && i < query->count; i++) {
        listed |= memcmp(query->uuids + (size_t)i * UUID_BYTES, domain->uuid, UUID_BYTES) == 0;
    }
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        listed &= !(query->flags & sets[i]) || (query->flags & sets[i] & has);
    }
    return listed;
}

static void answer_all(const struct snapshot *snapshot, void *context) {
    struct query *query = context;
    struct buffer records = {0};
    uint32_t count = 0;

    for (const struct domain *domain = domains; domain; domain = domain->next) {
        struct parameters parameters = {0};

        if (!is_asked_for(query, domain)) {
            continue;
        }
        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
            if (!query->groups || (query->groups & groups[i].bit)) {
                groups[i].put(&parameters, snapshot, domain);
            }
        }
        xdr_put_domain(&records, domain);
        xdr_put_u32(&records, parameters.count);
        buffer_append(&records, parameters.bytes.data, parameters.bytes.length);
        buffer_free(&parameters.bytes);
        count++;
    }
    xdr_put_u32(&query->call->reply, count);
    buffer_append(&query->call->reply, records.data, records.length);
    buffer_free(&records);
    call_finish(query->call);
    free_query(query);
}

static enum outcome get_all_domain_stats(struct call *call) {
    const uint32_t enforce = 1u << 31;
    uint32_t known = 0;

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        known |= groups[i].bit;
    }
    if ((call->arguments[2].u & enforce) && (call->arguments[1].u & ~known)) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                         "of these groups of statistics some are not kept: %#x",
                         call->arguments[1].u & ~known);
    }
    struct query *query = allocate(sizeof(*query));
    size_t size = (size_t)call->arguments[0].bytes.length * UUID_BYTES;
    *query = (struct query){.call = call,
                            .groups = call->arguments[1].u,
                            .flags = call->arguments[2].u,
                            .count = call->arguments[0].bytes.length};
    if (size) {
        query->uuids = allocate(size);
        memcpy(query->uuids, call->arguments[0].bytes.data, size);
    }
    statistics_gather(NULL, answer_all, query);
    return CALL_LATER;
}

// --- one device of one domain --------------------------------------------------------------------

// Gathers for the call's first argument. `answer` gets the query.
static enum outcome gather(struct call *call, const char *device,
                           void (*answer)(const struct snapshot *snapshot, void *context)) {
    struct domain *domain = call->arguments[0].domain;

    if (!domain->vmm) {
        return call_fail(call, ERROR_OPERATION_INVALID,
                         "Requested operation is not valid: domain is not running");
    }
    struct query *query = allocate(sizeof(*query));
    *query =
        (struct query){.call = call, .device = copy_string(device), .groups = call->arguments[2].u};
    memcpy(query->uuid, domain->uuid, UUID_BYTES);
    statistics_gather(domain, answer, query);
    return CALL_LATER;
}

// The domain of a query; NULL: it is gone, and the call has failed.
static struct domain *domain_of(struct query *query) {
    struct domain *domain = domain_by_uuid(query->uuid);

    if (!domain) {
        call_fail(query->call, ERROR_NO_DOMAIN, "Domain not found: it has ended");
        free_query(query);
    }
    return domain;
}

// The sum of all disks where the name is empty, with the errors behind the counters. False: there
// is no such disk, and the call failed.
static bool sum_blocks(const struct snapshot *snapshot, struct query *query,
                       uint64_t sums[BLOCK_COUNTERS + 1]) {
    const struct domain *domain = domain_of(query);
    bool found = false;

    if (!domain) {
        return false;
    }
    memset(sums, 0, (BLOCK_COUNTERS + 1) * sizeof(sums[0]));
    for (const struct xml *disk = first_device(domain, "disk"); disk; disk = xml_next(disk)) {
        uint64_t counters[BLOCK_COUNTERS];

        if (*query->device && !device_is_called(disk, query->device)) {
            continue;
        }
        snapshot_block(snapshot, domain, disk, counters);
        for (unsigned i = 0; i < BLOCK_COUNTERS; i++) {
            sums[i] += counters[i];
        }
        sums[BLOCK_COUNTERS] += snapshot_block_errors(snapshot, domain, disk);
        found = true;
    }
    if (!found && *query->device) {
        call_fail(query->call, ERROR_INVALID_ARG, "invalid argument: invalid path: %s",
                  query->device);
        free_query(query);
        return false;
    }
    return true;
}

static void answer_block(const struct snapshot *snapshot, void *context) {
    struct query *query = context;
    struct buffer *reply = &query->call->reply;
    uint64_t sums[BLOCK_COUNTERS + 1];

    if (!sum_blocks(snapshot, query, sums)) {
        return;
    }
    xdr_put_u64(reply, sums[0]);
    xdr_put_u64(reply, sums[1]);
    xdr_put_u64(reply, sums[3]);
    xdr_put_u64(reply, sums[4]);
    xdr_put_u64(reply, sums[BLOCK_COUNTERS]);
    call_finish(query->call);
    free_query(query);
}

static enum outcome block_stats(struct call *call) {
    return gather(call, call->arguments[1].string, answer_block);
}

static void answer_block_flags(const struct snapshot *snapshot, void *context) {
    struct query *query = context;
    struct buffer *reply = &query->call->reply;
    uint64_t sums[BLOCK_COUNTERS + 1];
    uint32_t asked = query->groups <= BLOCK_COUNTERS ? query->groups : BLOCK_COUNTERS + 1;

    if (!sum_blocks(snapshot, query, sums)) {
        return;
    }
    xdr_put_u32(reply, asked);
    for (uint32_t i = 0; i < asked; i++) {
        xdr_put_parameter(reply, i < BLOCK_COUNTERS ? block_names[i].alone : "errs",
                          PARAMETER_LLONG, sums[i]);
    }
    xdr_put_u32(reply, asked ? 0 : BLOCK_COUNTERS + 1);
    call_finish(query->call);
    free_query(query);
}

static enum outcome block_stats_flags(struct call *call) {
    return gather(call, call->arguments[1].string, answer_block_flags);
}

// A disk is faulty when a request has failed since the domain's start.
static void answer_disk_errors(const struct snapshot *snapshot, void *context) {
    enum { ERROR_UNSPECIFIED = 1 };
    struct query *query = context;
    const struct domain *domain = domain_of(query);
    struct buffer faulty = {0};
    uint32_t count = 0;

    if (!domain) {
        return;
    }
    for (const struct xml *disk = first_device(domain, "disk"); disk; disk = xml_next(disk)) {
        if (count < query->groups && snapshot_block_errors(snapshot, domain, disk)) {
            xdr_put_string(&faulty, xml_get(disk, "target@dev"));
            xdr_put_u32(&faulty, ERROR_UNSPECIFIED);
            count++;
        }
    }
    xdr_put_u32(&query->call->reply, count);
    buffer_append(&query->call->reply, faulty.data, faulty.length);
    xdr_put_u32(&query->call->reply, query->groups ? count : count_devices(domain, "disk"));
    buffer_free(&faulty);
    call_finish(query->call);
    free_query(query);
}

// how many at most (0: how many there may be), flags
static enum outcome disk_errors(struct call *call) {
    call->arguments[2].u = call->arguments[1].u;
    return gather(call, NULL, answer_disk_errors);
}

static void answer_interface(const struct snapshot *snapshot, void *context) {
    struct query *query = context;
    const struct domain *domain = domain_of(query);
    uint64_t counters[NET_COUNTERS];

    if (!domain) {
        return;
    }
    for (const struct xml *device = first_device(domain, "interface"); device;
         device = xml_next(device)) {
        if (!device_is_called(device, query->device)) {
            continue;
        }
        snapshot_net(snapshot, device, counters);
        for (unsigned i = 0; i < NET_COUNTERS; i++) {
            xdr_put_u64(&query->call->reply, counters[i]);
        }
        call_finish(query->call);
        free_query(query);
        return;
    }
    call_fail(query->call, ERROR_INVALID_ARG, "invalid argument: '%s' is not a known interface",
              query->device);
    free_query(query);
}

static enum outcome interface_stats(struct call *call) {
    return gather(call, call->arguments[1].string, answer_interface);
}

static enum outcome get_block_info(struct call *call) {
    const struct xml *disk = first_device(call->arguments[0].domain, "disk");
    uint64_t allocated, capacity;

    while (disk && !device_is_called(disk, call->arguments[1].string)) {
        disk = xml_next(disk);
    }
    if (!disk) {
        return call_fail(call, ERROR_INVALID_ARG, "invalid argument: invalid path %s",
                         call->arguments[1].string);
    }
    capacity = capacity_of(device_source(disk), &allocated);
    if (!capacity) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                         "the size of a disk that another program serves is not known here");
    }
    xdr_put_u64(&call->reply, allocated);
    xdr_put_u64(&call->reply, capacity);
    xdr_put_u64(&call->reply, capacity);
    return CALL_DONE;
}

static void answer_memory(const struct snapshot *snapshot, void *context) {
    struct query *query = context;
    const struct domain *domain = domain_of(query);
    struct buffer entries = {0};
    uint32_t count = 1;

    if (!domain) {
        return;
    }
    xdr_put_u32(&entries, MEMORY_ACTUAL);
    xdr_put_u64(&entries, snapshot_memory(snapshot, domain));
    for (unsigned i = 0; i < BALLOON_NAMES && count < query->groups; i++) {
        uint64_t value =
            snapshot_number(snapshot, domain, UINT64_MAX, "balloon.%s", balloon_names[i].from);
        if (value != UINT64_MAX) {
            xdr_put_u32(&entries, balloon_names[i].tag);
            xdr_put_u64(&entries, balloon_names[i].bytes ? value / 1024 : value);
            count++;
        }
    }
    if (domain->vmm && count < query->groups && resources_resident(domain)) {
        xdr_put_u32(&entries, MEMORY_RSS);
        xdr_put_u64(&entries, resources_resident(domain));
        count++;
    }
    xdr_put_u32(&query->call->reply, count);
    buffer_append(&query->call->reply, entries.data, entries.length);
    buffer_free(&entries);
    call_finish(query->call);
    free_query(query);
}

static enum outcome memory_stats(struct call *call) {
    call->arguments[2].u = call->arguments[1].u; // how many
    return gather(call, NULL, answer_memory);
}

// The guest's processors; which of the host's they ran on is not kept.
static void answer_cpu(const struct snapshot *snapshot, void *context) {
    struct query *query = context;
    const struct domain *domain = domain_of(query);

    if (!domain) {
        return;
    }
    xdr_put_u32(&query->call->reply, query->groups ? 1 : 0);
    if (query->groups) {
        xdr_put_parameter(&query->call->reply, "cpu_time", PARAMETER_ULLONG,
                          snapshot_cpu_time(snapshot, domain));
    }
    xdr_put_u32(&query->call->reply, 1);
    call_finish(query->call);
    free_query(query);
}

// how many parameters, first CPU (-1: all together), how many CPUs, flags
static enum outcome cpu_stats(struct call *call) {
    if (call->arguments[2].i < 0) {
        call->arguments[2].u = call->arguments[1].u;
        return gather(call, NULL, answer_cpu);
    }
    xdr_put_u32(&call->reply, 0);
    xdr_put_u32(&call->reply, call->arguments[3].u ? 0 : host_cpus());
    return CALL_DONE;
}

const struct procedure statistics_calls[] = {
    {64, ROLE_MONITOR, "DOMAIN_BLOCK_STATS", "Ds", block_stats},
    {65, ROLE_MONITOR, "DOMAIN_INTERFACE_STATS", "Ds", interface_stats},
    {159, ROLE_MONITOR, "DOMAIN_MEMORY_STATS", "Duu", memory_stats},
    {194, ROLE_MONITOR, "DOMAIN_GET_BLOCK_INFO", "Dsu", get_block_info},
    {243, ROLE_MONITOR, "DOMAIN_BLOCK_STATS_FLAGS", "Dsuu", block_stats_flags},
    {263, ROLE_MONITOR, "DOMAIN_GET_DISK_ERRORS", "Duu", disk_errors},
    {262, ROLE_MONITOR, "DOMAIN_GET_CPU_STATS", "Duuuu", cpu_stats},
    {344, ROLE_MONITOR, "CONNECT_GET_ALL_DOMAIN_STATS", "Luu", get_all_domain_stats},
    {0},
};
