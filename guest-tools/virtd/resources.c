// SPDX-License-Identifier: BSD-2-Clause
// Affinity and control groups. A host without control groups runs domains without shares.
#define _GNU_SOURCE
#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capabilities.h"
#include "domain.h"
#include "domain_store.h"
#include "domain_xml.h"
#include "memory.h"
#include "vmm.h"

#define CGROUPS "/sys/fs/cgroup"

// The domain's group, below it a file, or a vCPU's group.
static char *group_path(const struct domain *domain, const char *below) {
    char uuid[UUID_TEXT];

    uuid_format(domain->uuid, uuid);
    return print_string(CGROUPS "/domain-%s%s", uuid, below);
}

static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;

    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return done;
}

static bool set(const struct domain *domain, const char *file, const char *text) {
    char *path = group_path(domain, file);
    bool done = write_text(path, text);

    free(path);
    return done;
}

static bool set_id(const struct domain *domain, const char *file, pid_t id) {
    char text[16];

    snprintf(text, sizeof(text), "%d", (int)id);
    return set(domain, file, text);
}

// Each vCPU's file; false where one could not be written.
static bool each_vcpu(const struct domain *domain, const char *file, const char *text) {
    bool done = true;

    for (unsigned i = 0; i < domain->vmm->vcpus; i++) {
        char below[64];
        snprintf(below, sizeof(below), "/vcpu%u%s", i, file);
        if (text) {
            done = set(domain, below, text) && done;
        } else if (domain->vmm->tids[i] > 0) {
            done = set_id(domain, below, domain->vmm->tids[i]) && done;
        }
    }
    return done;
}

static void make_group(const struct domain *domain) {
    char *path = group_path(domain, "");
    bool made = mkdir(path, 0755) == 0 || errno == EEXIST;

    free(path);
    write_text(CGROUPS "/cgroup.subtree_control", "+cpu");
    write_text(CGROUPS "/cgroup.subtree_control", "+memory");
    for (unsigned i = 0; made && i < domain->vmm->vcpus; i++) {
        char below[32];
        snprintf(below, sizeof(below), "/vcpu%u", i);
        path = group_path(domain, below);
        made = mkdir(path, 0755) == 0 || errno == EEXIST;
        free(path);
    }
    if (!made || !each_vcpu(domain, "/cgroup.type", "threaded") ||
        !set(domain, "/cgroup.subtree_control", "+cpu") ||
        !set_id(domain, "/cgroup.procs", domain->vmm->pid) ||
        !each_vcpu(domain, "/cgroup.threads", NULL)) {
        fprintf(stderr, "virtd: the domain '%s' has no whole control group: %s\n", domain->name,
                strerror(errno));
    }
}

void resources_release(struct domain *domain) {
    unsigned vcpus = domain_max_vcpus(domain->live);

    for (unsigned i = 0; i <= vcpus; i++) { // the parent last
        char below[32] = "";
        if (i < vcpus) {
            snprintf(below, sizeof(below), "/vcpu%u", i);
        }
        char *path = group_path(domain, below);
        rmdir(path);
        free(path);
    }
}

uint64_t resources_resident(const struct domain *domain) {
    char *statm = print_string("/proc/%d/statm", (int)domain->vmm->pid);
    char *current = group_path(domain, "/memory.current");
    unsigned long long pages = 0, bytes = 0;
    FILE *file = fopen(statm, "re");

    if (file) {
        (void)!fscanf(file, "%*u %llu", &pages);
        bytes = pages * (unsigned long long)sysconf(_SC_PAGESIZE);
    } else if ((file = fopen(current, "re"))) {
        (void)!fscanf(file, "%llu", &bytes);
    }
    if (file) {
        fclose(file);
    }
    free(current);
    free(statm);
    return bytes / 1024;
}

bool resources_pin(struct domain *domain, unsigned vcpu, const uint8_t *map) {
    if (vcpu >= domain->vmm->vcpus || domain->vmm->tids[vcpu] <= 0) {
        errno = EINVAL;
        return false;
    }
    return sched_setaffinity(domain->vmm->tids[vcpu], CPUSET_BYTES, (const cpu_set_t *)map) == 0;
}

bool resources_set_shares(struct domain *domain, uint64_t shares) {
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)shares);
    return set(domain, "/cpu.weight", text);
}

bool resources_set_quota(struct domain *domain, uint64_t period, int64_t quota) {
    char text[64];

    if (quota < 0) {
        snprintf(text, sizeof(text), "max %llu", (unsigned long long)period);
    } else {
        snprintf(text, sizeof(text), "%lld %llu", (long long)quota, (unsigned long long)period);
    }
    return each_vcpu(domain, "/cpu.max", text);
}

void resources_cpuset(const struct domain *domain, unsigned vcpu, uint8_t map[CPUSET_BYTES]) {
    const struct xml *xml = domain_xml(domain), *pin = xml_find(xml, "cputune/vcpupin");
    const char *set = xml_get(xml, "vcpu@cpuset");

    for (; pin; pin = xml_next(pin)) {
        if ((unsigned)atoi(xml_get(pin, "@vcpu")) == vcpu) {
            set = xml_get(pin, "@cpuset");
        }
    }
    if (set && cpuset_parse(set, map, CPUSET_BYTES)) {
        return;
    }
    memset(map, 0, CPUSET_BYTES);
    for (unsigned i = 0; i < host_cpus() && i < CPUSET_BYTES * 8; i++) {
        map[i / 8] |= (uint8_t)(1u << i % 8);
    }
}

static void apply_tuning(struct domain *domain) {
    const char *shares = xml_get(domain->live, "cputune/shares");
    const char *period = xml_get(domain->live, "cputune/period");
    const char *quota = xml_get(domain->live, "cputune/quota");
    bool pinned = xml_find(domain->live, "cputune/vcpupin") || xml_get(domain->live, "vcpu@cpuset");
    uint8_t map[CPUSET_BYTES];
    bool done = true;

    for (unsigned i = 0; pinned && i < domain->vmm->vcpus; i++) {
        resources_cpuset(domain, i, map);
        done = resources_pin(domain, i, map) && done;
    }
    if (shares) {
        done = resources_set_shares(domain, strtoull(shares, NULL, 10)) && done;
    }
    if (period || quota) {
        done = resources_set_quota(domain, period ? strtoull(period, NULL, 10) : PERIOD_DEFAULT,
                                   quota ? strtoll(quota, NULL, 10) : -1) &&
               done;
    }
    if (!done) {
        fprintf(stderr, "virtd: not all of the domain '%s' <cputune> holds: %s\n", domain->name,
                strerror(errno));
    }
}

void resources_apply(struct domain *domain, const char *info) {
    struct vmm *vmm = domain->vmm;
    uint64_t value = 0;

    answer_number(info, "cpus", &value);
    vmm->vcpus = value <= VCPUS_MAX ? (unsigned)value : 0;
    free(vmm->tids);
    vmm->tids = allocate(vmm->vcpus * sizeof(*vmm->tids));
    for (unsigned i = 0; i < vmm->vcpus; i++) {
        char key[32];
        snprintf(key, sizeof(key), "vcpu.%u.tid", i);
        if (answer_number(info, key, &value)) {
            vmm->tids[i] = (pid_t)value;
        }
    }
    make_group(domain);
    apply_tuning(domain);
    if (vmm->vcpus && vmm->vcpus != domain_vcpus(domain->live)) {
        domain_set_vcpus(domain->live, vmm->vcpus);
        store_live(domain);
    }
}
