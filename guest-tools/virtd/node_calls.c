// SPDX-License-Identifier: BSD-2-Clause
// The host: its processors, memory and name, and their statistics, whose names are libvirt's
// (libvirt-host.h).
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include <x86intrin.h>

#include "call.h"
#include "capabilities.h"
#include "host.h"
#include "loop.h"

enum { MODEL_LENGTH = 32 };

// The time-stamp counter's rate since the first call, which waits a millisecond for something to
// measure.
static uint32_t tsc_mhz(void) {
    static uint64_t first_tsc, first_time;

    if (!first_time) {
        first_time = loop_now();
        first_tsc = __rdtsc();
        usleep(1000);
    }
    return (uint32_t)((__rdtsc() - first_tsc) * 1000 / (loop_now() - first_time));
}

static enum outcome get_hostname(struct call *call) {
    char name[256] = "";

    gethostname(name, sizeof(name) - 1);
    xdr_put_string(&call->reply, name);
    return CALL_DONE;
}

static enum outcome get_info(struct call *call) {
    const char model[MODEL_LENGTH] = "x86_64";
    struct sysinfo info = {0};

    sysinfo(&info);
    for (int i = 0; i < MODEL_LENGTH; i++) {
        xdr_put_u32(&call->reply, (uint8_t)model[i]);
    }
    xdr_put_u64(&call->reply, (uint64_t)info.totalram * info.mem_unit / 1024);
    xdr_put_u32(&call->reply, host_cpus());
    xdr_put_u32(&call->reply, tsc_mhz());
    xdr_put_u32(&call->reply, 1); // NUMA nodes
    xdr_put_u32(&call->reply, 1); // sockets
    xdr_put_u32(&call->reply, host_cpus());
    xdr_put_u32(&call->reply, 1); // threads of a core
    return CALL_DONE;
}

static enum outcome get_free_memory(struct call *call) {
    struct sysinfo info = {0};

    sysinfo(&info);
    xdr_put_u64(&call->reply, (uint64_t)info.freeram * info.mem_unit);
    return CALL_DONE;
}

// first node, how many at most: there is one
static enum outcome get_cells_free_memory(struct call *call) {
    if (call->arguments[0].u || !call->arguments[1].u) {
        return call_fail(call, ERROR_INVALID_ARG, "the host has one NUMA node, 0");
    }
    xdr_put_u32(&call->reply, 1);
    return get_free_memory(call);
}

// No model: clients then do not ask for a domain's label.
static enum outcome get_security_model(struct call *call) {
    xdr_put_u32(&call->reply, 0);
    xdr_put_u32(&call->reply, 0);
    return CALL_DONE;
}

static enum outcome get_cpu_map(struct call *call) {
    uint8_t map[(1024 + 7) / 8] = {0};
    unsigned cpus = host_cpus() < 1024 ? host_cpus() : 1024;

    for (unsigned i = 0; i < cpus; i++) {
        map[i / 8] |= (uint8_t)(1u << i % 8);
    }
    xdr_put_opaque(&call->reply, map, call->arguments[0].u ? (cpus + 7) / 8 : 0);
    xdr_put_u32(&call->reply, call->arguments[1].u ? cpus : 0); // online
    xdr_put_u32(&call->reply, cpus);
    return CALL_DONE;
}

// Pairs of a name and a number, and their number where only that is asked for.
static enum outcome put_host(struct call *call, const char *const *names, const uint64_t *values,
                             uint32_t count, uint32_t asked) {
    uint32_t given = asked < count ? asked : count;

    xdr_put_u32(&call->reply, given);
    for (uint32_t i = 0; i < given; i++) {
        xdr_put_string(&call->reply, names[i]);
        xdr_put_u64(&call->reply, values[i]);
    }
    xdr_put_u32(&call->reply, asked ? 0 : count);
    return CALL_DONE;
}

static enum outcome node_cpu_stats(struct call *call) {
    static const char *const names[] = {"kernel", "user", "idle", "iowait"};
    struct host_cpu cpu;

    if (!host_cpu(call->arguments[0].i, &cpu)) {
        return call_fail(call, ERROR_INVALID_ARG, "invalid argument: no CPU %d",
                         call->arguments[0].i);
    }
    const uint64_t values[] = {cpu.system, cpu.user, cpu.idle, cpu.iowait};
    return put_host(call, names, values, 4, call->arguments[1].u);
}

static enum outcome node_memory_stats(struct call *call) {
    static const char *const names[] = {"total", "free", "buffers", "cached"};
    const uint64_t values[] = {host_memory("MemTotal"), host_memory("MemFree"),
                               host_memory("Buffers"), host_memory("Cached")};

    return put_host(call, names, values, 4, call->arguments[0].u);
}

const struct procedure node_calls[] = {
    {6, ROLE_MONITOR, "NODE_GET_INFO", "", get_info},
    {59, ROLE_MONITOR, "CONNECT_GET_HOSTNAME", "", get_hostname},
    {101, ROLE_MONITOR, "NODE_GET_CELLS_FREE_MEMORY", "uu", get_cells_free_memory},
    {102, ROLE_MONITOR, "NODE_GET_FREE_MEMORY", "", get_free_memory},
    {122, ROLE_MONITOR, "NODE_GET_SECURITY_MODEL", "", get_security_model},
    {227, ROLE_MONITOR, "NODE_GET_CPU_STATS", "uuu", node_cpu_stats},
    {228, ROLE_MONITOR, "NODE_GET_MEMORY_STATS", "uuu", node_memory_stats},
    {293, ROLE_MONITOR, "NODE_GET_CPU_MAP", "uuu", get_cpu_map},
    {0},
};
