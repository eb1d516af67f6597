// SPDX-License-Identifier: BSD-2-Clause
// Limits that clients ask for and that are not set on any domain: they are told so.
#define _GNU_SOURCE
#include <sched.h>
#include <string.h>

#include "call.h"
#include "domain.h"
#include "domain_xml.h"
#include "resources.h"
#include "statistics.h"
#include "vmm.h"

#define UNLIMITED 9007199254740991ull // KiB: VIR_DOMAIN_MEMORY_PARAM_UNLIMITED

// A limit and the value that says there is none; PARAMETER_STRING: an empty one.
struct limit {
    const char *name;
    enum parameter_type type;
    uint64_t value;
};
static const struct limit memory_limits[] = {{"hard_limit", PARAMETER_ULLONG, UNLIMITED},
                                             {"soft_limit", PARAMETER_ULLONG, UNLIMITED},
                                             {"swap_hard_limit", PARAMETER_ULLONG, UNLIMITED}};
static const struct limit numa_limits[] = {{"numa_nodeset", PARAMETER_STRING, 0},
                                           {"numa_mode", PARAMETER_INT, 0}};
static const struct limit block_limits[] = {
    {"total_bytes_sec", PARAMETER_ULLONG, 0}, {"read_bytes_sec", PARAMETER_ULLONG, 0},
    {"write_bytes_sec", PARAMETER_ULLONG, 0}, {"total_iops_sec", PARAMETER_ULLONG, 0},
    {"read_iops_sec", PARAMETER_ULLONG, 0},   {"write_iops_sec", PARAMETER_ULLONG, 0}};
static const struct limit interface_limits[] = {
    {"inbound.average", PARAMETER_UINT, 0},  {"inbound.peak", PARAMETER_UINT, 0},
    {"inbound.burst", PARAMETER_UINT, 0},    {"inbound.floor", PARAMETER_UINT, 0},
    {"outbound.average", PARAMETER_UINT, 0}, {"outbound.peak", PARAMETER_UINT, 0},
    {"outbound.burst", PARAMETER_UINT, 0}};
#define COUNT(limits) (sizeof(limits) / sizeof((limits)[0]))

// As many as were asked for, or their number where none was.
static enum outcome put_limits(struct call *call, const struct limit *limits, uint32_t count,
                               uint32_t asked) {
    uint32_t given = asked < count ? asked : count;

    xdr_put_u32(&call->reply, given);
    for (uint32_t i = 0; i < given; i++) {
        if (limits[i].type == PARAMETER_STRING) {
            xdr_put_string_parameter(&call->reply, limits[i].name, "");
        } else {
            xdr_put_parameter(&call->reply, limits[i].name, limits[i].type, limits[i].value);
        }
    }
    xdr_put_u32(&call->reply, asked ? 0 : count);
    return CALL_DONE;
}

static enum outcome get_memory_parameters(struct call *call) {
    return put_limits(call, memory_limits, COUNT(memory_limits), call->arguments[1].u);
}

static enum outcome get_numa_parameters(struct call *call) {
    return put_limits(call, numa_limits, COUNT(numa_limits), call->arguments[1].u);
}

// Of a device, by its target, MAC address or source; without a name it is any.
static enum outcome get_device_limits(struct call *call, const char *kind,
                                      const struct limit *limits, uint32_t count, uint32_t asked) {
    const char *name = call->arguments[1].string;
    const struct xml *device = first_device(call->arguments[0].domain, kind);

    while (device && name && !device_is_called(device, name)) {
        device = xml_next(device);
    }
    if (!device && name) {
        return call_fail(call, ERROR_INVALID_ARG, "the domain has no %s '%s'", kind, name);
    }
    return put_limits(call, limits, count, asked);
}

// disk (optional), how many, flags
static enum outcome get_block_io_tune(struct call *call) {
    return get_device_limits(call, "disk", block_limits, COUNT(block_limits), call->arguments[2].u);
}

static enum outcome get_interface_parameters(struct call *call) {
    return get_device_limits(call, "interface", interface_limits, COUNT(interface_limits),
                             call->arguments[2].u);
}

// Where the monitor's threads that are no vCPUs may run.
static enum outcome get_emulator_pin_info(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;
    uint8_t map[2 * CPUSET_BYTES] = {0};
    uint32_t length = call->arguments[1].u;

    if (length > sizeof(map)) {
        return call_fail(call, ERROR_INVALID_ARG, "a CPU map of %u bytes", length);
    }
    sched_getaffinity(domain->vmm ? domain->vmm->pid : 0, CPUSET_BYTES, (cpu_set_t *)map);
    xdr_put_opaque(&call->reply, map, length);
    xdr_put_u32(&call->reply, 1);
    return CALL_DONE;
}

const struct procedure limit_calls[] = {
    {198, ROLE_MONITOR, "DOMAIN_GET_MEMORY_PARAMETERS", "Duu", get_memory_parameters},
    {253, ROLE_MONITOR, "DOMAIN_GET_BLOCK_IO_TUNE", "Douu", get_block_io_tune},
    {255, ROLE_MONITOR, "DOMAIN_GET_NUMA_PARAMETERS", "Duu", get_numa_parameters},
    {257, ROLE_MONITOR, "DOMAIN_GET_INTERFACE_PARAMETERS", "Dsuu", get_interface_parameters},
    {280, ROLE_MONITOR, "DOMAIN_GET_EMULATOR_PIN_INFO", "Duu", get_emulator_pin_info},
    {0},
};
