// SPDX-License-Identifier: BSD-2-Clause
// vCPUs, memory and scheduling of domains.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "capabilities.h"
#include "domain.h"
#include "domain_store.h"
#include "domain_xml.h"
#include "event.h"
#include "impact.h"
#include "memory.h"
#include "resources.h"
#include "vmm.h"

enum { AFFECT_MAXIMUM = 1 << 2 }; // beyond enum impact
enum { VCPU_RUNNING = 1, VCPU_NO_CPU = -2 };

uint32_t affected(struct call *call, uint32_t flags) {
    const struct domain *domain = call->arguments[0].domain;

    if (!(flags & (AFFECT_LIVE | AFFECT_CONFIG))) {
        flags |= domain_active(domain) ? AFFECT_LIVE : AFFECT_CONFIG;
    }
    if ((flags & AFFECT_LIVE) && (!domain->vmm || domain->vmm->starting)) {
        call_fail(call, ERROR_OPERATION_INVALID, "domain is not running");
        return 0;
    }
    if ((flags & AFFECT_CONFIG) && !domain->config) {
        call_fail(call, ERROR_OPERATION_INVALID,
                  "cannot change persistent config of a transient domain");
        return 0;
    }
    return flags & (AFFECT_LIVE | AFFECT_CONFIG);
}

// The definition that a query is about.
static const struct xml *queried(const struct domain *domain, uint32_t flags) {
    return (flags & AFFECT_CONFIG) && domain->config ? domain->config : domain_xml(domain);
}

// A call that waits for the monitor to change how much of something there is.
struct resize {
    struct call *call;
    uint64_t value; // KiB, or vCPUs
    bool config;    // the definition too
};

static void set_number(struct xml *xml, const char *path, int64_t value) {
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)value);
    xml_set(xml, path, text);
}

static enum outcome failed(struct call *call, const char *what) {
    return call_fail(call, ERROR_OPERATION_FAILED, "cannot %s: %s", what, strerror(errno));
}

bool store_impact(struct call *call, uint32_t impact) {
    const struct domain *domain = call->arguments[0].domain;

    if (((impact & AFFECT_LIVE) && !store_live(domain)) ||
        ((impact & AFFECT_CONFIG) && !store_config(domain))) {
        failed(call, "store the change");
        return false;
    }
    return true;
}

// --- vCPUs -------------------------------------------------------------------------------------

static enum outcome get_max_vcpus(struct call *call) {
    xdr_put_u32(&call->reply, domain_max_vcpus(domain_xml(call->arguments[0].domain)));
    return CALL_DONE;
}

static enum outcome get_vcpus_flags(struct call *call) {
    uint32_t flags = call->arguments[1].u;
    const struct xml *xml = queried(call->arguments[0].domain, flags);

    xdr_put_u32(&call->reply, flags & AFFECT_MAXIMUM ? domain_max_vcpus(xml) : domain_vcpus(xml));
    return CALL_DONE;
}

// The guest has been asked, and what is plugged is known.
static void vcpus_changed(struct domain *domain, const char *answer, const char *error,
                          void *context) {
    const struct resize *resize = context;
    struct call *call = resize->call;

    call->arguments[0].domain = domain;
    if (!answer) {
        call_fail(call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
        free(context);
        return;
    }
    resources_apply(domain, answer);
    if (resize->config && domain->config) {
        domain_set_vcpus(domain->config, (unsigned)resize->value);
    }
    if (store_impact(call, resize->config && domain->config ? AFFECT_CONFIG : 0)) {
        call_finish(call);
    }
    free(context);
}

static void vcpus_asked(struct domain *domain, const char *answer, const char *error,
                        void *context) {
    if (answer) {
        vmm_request(domain, "info", vcpus_changed, context);
    } else {
        vcpus_changed(domain, NULL, error, context);
    }
}

// Where vCPUs that there are no more may run: a definition with those is refused when it is read.
static void drop_pins(struct xml *xml, unsigned vcpus) {
    struct xml *next;

    for (struct xml *pin = xml_find(xml, "cputune/vcpupin"); pin; pin = next) {
        next = xml_next(pin);
        if ((unsigned)atoi(xml_get(pin, "@vcpu")) >= vcpus) {
            xml_free(pin);
        }
    }
}

static enum outcome change_vcpus(struct call *call, uint32_t count, uint32_t flags) {
    struct domain *domain = call->arguments[0].domain;
    uint32_t impact = affected(call, flags);
    unsigned most = VCPUS_MAX;
    char line[32];

    if (!impact) {
        return CALL_FAILED;
    }
    if ((impact & AFFECT_LIVE) && (flags & AFFECT_MAXIMUM)) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                         "the maximum of a running domain's vCPUs cannot change; use --config");
    }
    if (!(flags & AFFECT_MAXIMUM)) {
        most = domain_max_vcpus(impact & AFFECT_CONFIG ? domain->config : domain->live);
    }
    if ((impact & AFFECT_LIVE) && most > domain_max_vcpus(domain->live)) {
        most = domain_max_vcpus(domain->live);
    }
    if (count < 1 || count > most) {
        return call_fail(call, ERROR_INVALID_ARG, "%u vCPUs: from 1 to %u are allowed", count,
                         most);
    }
    if (impact & AFFECT_LIVE) {
        struct resize *resize = allocate(sizeof(*resize));
        *resize = (struct resize){call, count, impact & AFFECT_CONFIG};
        snprintf(line, sizeof(line), "cpus %u", count);
        vmm_request(domain, line, vcpus_asked, resize);
        return CALL_LATER;
    }
    if (flags & AFFECT_MAXIMUM) {
        if (domain_vcpus(domain->config) >= count) {
            xml_set(domain->config, "vcpu@current", NULL);
        } else {
            set_number(domain->config, "vcpu@current", domain_vcpus(domain->config));
        }
        set_number(domain->config, "vcpu", count);
        drop_pins(domain->config, count);
    } else {
        domain_set_vcpus(domain->config, count);
    }
    return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
}

static enum outcome set_vcpus(struct call *call) {
    return change_vcpus(call, call->arguments[1].u, 0);
}

static enum outcome set_vcpus_flags(struct call *call) {
    return change_vcpus(call, call->arguments[1].u, call->arguments[2].u);
}

// A client's map, of which it may send only the first bytes.
static void put_map(struct buffer *to, const struct domain *domain, unsigned vcpu,
                    uint32_t length) {
    uint8_t map[CPUSET_BYTES];

    resources_cpuset(domain, vcpu, map);
    buffer_append(to, map, length < CPUSET_BYTES ? length : CPUSET_BYTES);
    for (uint32_t i = CPUSET_BYTES; i < length; i++) {
        buffer_append(to, "", 1);
    }
}

static struct xml *pin_element(struct xml *xml, unsigned vcpu) {
    struct xml *tune = xml_find(xml, "cputune"), *pin;

    if (!tune) {
        tune = xml_add(xml, "cputune", NULL);
    }
    for (pin = xml_find(tune, "vcpupin"); pin; pin = xml_next(pin)) {
        if ((unsigned)atoi(xml_get(pin, "@vcpu")) == vcpu) {
            return pin;
        }
    }
    pin = xml_add(tune, "vcpupin", NULL);
    set_number(pin, "@vcpu", vcpu);
    return pin;
}

static enum outcome pin(struct call *call, uint32_t flags) {
    struct domain *domain = call->arguments[0].domain;
    unsigned vcpu = call->arguments[1].u;
    uint32_t length = call->arguments[2].bytes.length, impact = affected(call, flags);
    uint8_t map[CPUSET_BYTES] = {0};

    if (!impact) {
        return CALL_FAILED;
    }
    memcpy(map, call->arguments[2].bytes.data, length < CPUSET_BYTES ? length : CPUSET_BYTES);
    if (vcpu >= domain_max_vcpus(impact & AFFECT_LIVE ? domain->live : domain->config)) {
        return call_fail(call, ERROR_INVALID_ARG, "the domain has no vCPU %u", vcpu);
    }
    char *set = cpuset_format(map, CPUSET_BYTES);
    if (!*set || ((impact & AFFECT_LIVE) && !resources_pin(domain, vcpu, map))) {
        free(set);
        errno = errno ? errno : EINVAL;
        return failed(call, "pin the vCPU");
    }
    if (impact & AFFECT_LIVE) {
        xml_set(pin_element(domain->live, vcpu), "@cpuset", set);
    }
    if (impact & AFFECT_CONFIG) {
        xml_set(pin_element(domain->config, vcpu), "@cpuset", set);
    }
    free(set);
    return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
}

static enum outcome pin_vcpu(struct call *call) {
    return pin(call, AFFECT_LIVE);
}

static enum outcome pin_vcpu_flags(struct call *call) {
    return pin(call, call->arguments[3].u);
}

static enum outcome get_vcpu_pin_info(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;
    uint32_t maps = call->arguments[1].u, length = call->arguments[2].u;
    unsigned vcpus = domain_max_vcpus(queried(domain, call->arguments[3].u));
    struct buffer all = {0};

    maps = maps < vcpus ? maps : vcpus;
    if (length > 2 * CPUSET_BYTES) {
        return call_fail(call, ERROR_INVALID_ARG, "a CPU map of %u bytes", length);
    }
    for (unsigned i = 0; i < maps; i++) {
        put_map(&all, domain, i, length);
    }
    xdr_put_opaque(&call->reply, all.data, (uint32_t)all.length);
    xdr_put_u32(&call->reply, maps);
    buffer_free(&all);
    return CALL_DONE;
}

// A call that waits for the monitor's statistics, with those of its arguments that are needed then.
struct query {
    struct call *call;
    uint32_t infos, map_length;
};

static uint64_t vcpu_number(const char *answer, unsigned vcpu, const char *name,
                            uint64_t fallback) {
    char key[32];

    snprintf(key, sizeof(key), "vcpu.%u.%s", vcpu, name);
    answer_number(answer, key, &fallback);
    return fallback;
}

static void put_vcpus(struct domain *domain, const char *answer, const char *error, void *context) {
    struct query *query = context;
    struct call *call = query->call;
    struct buffer maps = {0};

    if (answer) {
        unsigned count = query->infos < domain->vmm->vcpus ? query->infos : domain->vmm->vcpus;
        xdr_put_u32(&call->reply, count);
        for (unsigned i = 0; i < count; i++) {
            xdr_put_u32(&call->reply, i);
            xdr_put_u32(&call->reply, VCPU_RUNNING);
            xdr_put_u64(&call->reply, vcpu_number(answer, i, "time", 0));
            xdr_put_u32(&call->reply,
                        (uint32_t)vcpu_number(answer, i, "cpu", (uint64_t)VCPU_NO_CPU));
            put_map(&maps, domain, i, query->map_length);
        }
        xdr_put_opaque(&call->reply, maps.data, (uint32_t)maps.length);
        buffer_free(&maps);
        call_finish(call);
    } else {
        call_fail(call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
    }
    free(query);
}

static enum outcome get_vcpus(struct call *call) {
    struct domain *domain = call->arguments[0].domain;
    struct query *query;

    if (!domain->vmm || domain->vmm->starting) {
        return call_fail(call, ERROR_OPERATION_INVALID,
                         "cannot list vcpu pinning for an inactive domain");
    }
    if (call->arguments[2].u > 2 * CPUSET_BYTES) {
        return call_fail(call, ERROR_INVALID_ARG, "a CPU map of %u bytes", call->arguments[2].u);
    }
    query = allocate(sizeof(*query));
    *query = (struct query){call, call->arguments[1].u, call->arguments[2].u};
    vmm_request(domain, "statistics", put_vcpus, query);
    return CALL_LATER;
}

// --- what a domain has and has used ------------------------------------------------------------

static void put_info(struct domain *domain, const char *answer, const char *error, void *context) {
    struct call *call = context;
    const struct xml *xml = domain_xml(domain);
    uint64_t memory = domain_current_memory(xml) * 1024, time = 0;

    (void)error;
    if (answer) {
        answer_number(answer, "balloon.current", &memory);
        for (unsigned i = 0; i < domain->vmm->vcpus; i++) {
            time += vcpu_number(answer, i, "time", 0);
        }
    }
    xdr_put_u32(&call->reply, domain->state);
    xdr_put_u64(&call->reply, domain_memory(xml));
    xdr_put_u64(&call->reply, memory / 1024);
    xdr_put_u32(&call->reply, domain_vcpus(xml));
    xdr_put_u64(&call->reply, time);
    call_finish(call);
}

static enum outcome get_info(struct call *call) {
    struct domain *domain = call->arguments[0].domain;

    if (domain->vmm && !domain->vmm->starting) {
        vmm_request(domain, "statistics", put_info, call);
    } else {
        put_info(domain, NULL, NULL, call);
    }
    return CALL_LATER;
}

// --- memory ------------------------------------------------------------------------------------

static bool store_memory(struct call *call, struct xml *xml, uint64_t kib, uint32_t impact) {
    set_number(xml, "currentMemory", (int64_t)kib);
    return store_impact(call, impact);
}

static void resized(struct domain *domain, const char *answer, const char *error, void *context) {
    struct resize *resize = context;
    struct call *call = resize->call;

    if (!answer) {
        call_fail(call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
    } else {
        call->arguments[0].domain = domain;
        bool done = store_memory(call, domain->live, resize->value, AFFECT_LIVE);
        if (done && resize->config && domain->config) {
            done = store_memory(call, domain->config, resize->value, AFFECT_CONFIG);
        }
        if (done) {
            event_balloon(domain, resize->value);
            call_finish(call);
        }
    }
    free(resize);
}

static enum outcome change_memory(struct call *call, uint64_t kib, uint32_t flags) {
    struct domain *domain = call->arguments[0].domain;
    uint32_t impact = affected(call, flags);
    char line[48];

    if (!impact) {
        return CALL_FAILED;
    }
    kib = (kib + 3) & ~3ull; // pages
    if (flags & AFFECT_MAXIMUM) {
        if (impact & AFFECT_LIVE) {
            return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                             "the maximum memory of a running domain cannot change; use --config");
        }
        if (kib < 16384 || kib > UINT64_MAX / 1024) {
            return call_fail(call, ERROR_INVALID_ARG, "%llu KiB: less than 16 MiB, or too much",
                             (unsigned long long)kib);
        }
        set_number(domain->config, "memory", (int64_t)kib);
        if (domain_current_memory(domain->config) < kib) {
            return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
        }
        return store_memory(call, domain->config, kib, impact) ? CALL_DONE : CALL_FAILED;
    }
    if (!kib || kib > domain_memory(impact & AFFECT_LIVE ? domain->live : domain->config)) {
        return call_fail(call, ERROR_INVALID_ARG, "%llu KiB: more than the maximum memory, or none",
                         (unsigned long long)kib);
    }
    if (!(impact & AFFECT_LIVE)) {
        return store_memory(call, domain->config, kib, impact) ? CALL_DONE : CALL_FAILED;
    }
    struct resize *resize = allocate(sizeof(*resize));
    *resize = (struct resize){call, kib, impact & AFFECT_CONFIG};
    snprintf(line, sizeof(line), "balloon %llu", (unsigned long long)kib * 1024);
    vmm_request(domain, line, resized, resize);
    return CALL_LATER;
}

static enum outcome set_memory(struct call *call) {
    return change_memory(call, call->arguments[1].l, AFFECT_LIVE);
}

static enum outcome set_max_memory(struct call *call) {
    return change_memory(call, call->arguments[1].l, AFFECT_MAXIMUM);
}

static enum outcome set_memory_flags(struct call *call) {
    return change_memory(call, call->arguments[1].l, call->arguments[2].u);
}

// --- scheduling --------------------------------------------------------------------------------

static const struct tuning {
    const char *name, *path;
    enum parameter_type type;
    int64_t initial, least, most;
} tunings[] = {
    {"cpu_shares", "cputune/shares", PARAMETER_ULLONG, 100, 1, 10000},
    {"vcpu_period", "cputune/period", PARAMETER_ULLONG, PERIOD_DEFAULT, 1000, 1000000},
    {"vcpu_quota", "cputune/quota", PARAMETER_LLONG, -1, 1000, INT64_MAX / 1000},
};
enum { TUNINGS = sizeof(tunings) / sizeof(tunings[0]), SHARES = 0, PERIOD = 1, QUOTA = 2 };

static int64_t tuning_value(const struct xml *xml, const struct tuning *tuning) {
    const char *text = xml_get(xml, tuning->path);

    return text ? strtoll(text, NULL, 10) : tuning->initial;
}

static enum outcome get_scheduler_type(struct call *call) {
    xdr_put_string(&call->reply, "posix");
    xdr_put_u32(&call->reply, TUNINGS);
    return CALL_DONE;
}

static enum outcome put_scheduler_parameters(struct call *call, uint32_t flags) {
    const struct xml *xml = queried(call->arguments[0].domain, flags);
    uint32_t count = call->arguments[1].u < TUNINGS ? call->arguments[1].u : TUNINGS;

    xdr_put_u32(&call->reply, count);
    for (uint32_t i = 0; i < count; i++) {
        xdr_put_parameter(&call->reply, tunings[i].name, tunings[i].type,
                          (uint64_t)tuning_value(xml, &tunings[i]));
    }
    return CALL_DONE;
}

static enum outcome get_scheduler_parameters(struct call *call) {
    return put_scheduler_parameters(call, 0);
}

static enum outcome get_scheduler_parameters_flags(struct call *call) {
    return put_scheduler_parameters(call, call->arguments[2].u);
}

// All values are checked before the first is set.
static enum outcome change_tuning(struct call *call, uint32_t flags) {
    struct domain *domain = call->arguments[0].domain;
    const struct parameter *given = call->arguments[1].parameters.items;
    uint32_t impact = affected(call, flags);
    int64_t values[TUNINGS];
    bool changed[TUNINGS] = {false};

    if (!impact) {
        return CALL_FAILED;
    }
    for (unsigned i = 0; i < TUNINGS; i++) {
        values[i] = tuning_value(impact & AFFECT_LIVE ? domain->live : domain->config, &tunings[i]);
    }
    for (uint32_t i = 0; i < call->arguments[1].parameters.count; i++) {
        unsigned at = 0;
        while (at < TUNINGS && strcmp(tunings[at].name, given[i].name) != 0) {
            at++;
        }
        if (at == TUNINGS) {
            return call_fail(call, ERROR_INVALID_ARG, "the parameter '%s' is not supported",
                             given[i].name);
        }
        values[at] = (int64_t)given[i].value;
        changed[at] = true;
        bool none = at == QUOTA && values[at] < 0;
        if (!none && (values[at] < tunings[at].least || values[at] > tunings[at].most)) {
            return call_fail(call, ERROR_INVALID_ARG, "%s must be from %lld to %lld", given[i].name,
                             (long long)tunings[at].least, (long long)tunings[at].most);
        }
    }
    if ((impact & AFFECT_LIVE) &&
        ((changed[SHARES] && !resources_set_shares(domain, (uint64_t)values[SHARES])) ||
         ((changed[PERIOD] || changed[QUOTA]) &&
          !resources_set_quota(domain, (uint64_t)values[PERIOD], values[QUOTA])))) {
        return failed(call, "set that in the domain's control group");
    }
    for (unsigned i = 0; i < TUNINGS; i++) {
        if (changed[i] && (impact & AFFECT_LIVE)) {
            set_number(domain->live, tunings[i].path, values[i]);
        }
        if (changed[i] && (impact & AFFECT_CONFIG)) {
            set_number(domain->config, tunings[i].path, values[i]);
        }
    }
    return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
}

static enum outcome set_scheduler_parameters(struct call *call) {
    return change_tuning(call, 0);
}

static enum outcome set_scheduler_parameters_flags(struct call *call) {
    return change_tuning(call, call->arguments[2].u);
}

const struct procedure resource_calls[] = {
    {16, ROLE_MONITOR, "DOMAIN_GET_INFO", "D", get_info},
    {18, ROLE_MONITOR, "DOMAIN_GET_MAX_VCPUS", "D", get_max_vcpus},
    {20, ROLE_MONITOR, "DOMAIN_GET_VCPUS", "Duu", get_vcpus},
    {26, ROLE_ADMIN, "DOMAIN_PIN_VCPU", "Dub", pin_vcpu},
    {30, ROLE_ADMIN, "DOMAIN_SET_MAX_MEMORY", "Dl", set_max_memory},
    {31, ROLE_ADMIN, "DOMAIN_SET_MEMORY", "Dl", set_memory},
    {32, ROLE_ADMIN, "DOMAIN_SET_VCPUS", "Du", set_vcpus},
    {56, ROLE_MONITOR, "DOMAIN_GET_SCHEDULER_TYPE", "D", get_scheduler_type},
    {57, ROLE_MONITOR, "DOMAIN_GET_SCHEDULER_PARAMETERS", "Du", get_scheduler_parameters},
    {58, ROLE_ADMIN, "DOMAIN_SET_SCHEDULER_PARAMETERS", "Dp", set_scheduler_parameters},
    {199, ROLE_ADMIN, "DOMAIN_SET_VCPUS_FLAGS", "Duu", set_vcpus_flags},
    {200, ROLE_MONITOR, "DOMAIN_GET_VCPUS_FLAGS", "Du", get_vcpus_flags},
    {204, ROLE_ADMIN, "DOMAIN_SET_MEMORY_FLAGS", "Dlu", set_memory_flags},
    {219, ROLE_ADMIN, "DOMAIN_SET_SCHEDULER_PARAMETERS_FLAGS", "Dpu",
     set_scheduler_parameters_flags},
    {223, ROLE_MONITOR, "DOMAIN_GET_SCHEDULER_PARAMETERS_FLAGS", "Duu",
     get_scheduler_parameters_flags},
    {225, ROLE_ADMIN, "DOMAIN_PIN_VCPU_FLAGS", "Dubu", pin_vcpu_flags},
    {230, ROLE_MONITOR, "DOMAIN_GET_VCPU_PIN_INFO", "Duuu", get_vcpu_pin_info},
    {0},
};
