// SPDX-License-Identifier: BSD-2-Clause
// Processors and shares of a running domain: where its vCPUs may run, and its control group with
// one threaded group below it for each vCPU (Linux's Documentation/admin-guide/cgroup-v2.rst).
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct domain;

enum { CPUSET_BYTES = 128, PERIOD_DEFAULT = 100000 };

// Puts the monitor into the domain's control group and its vCPUs where the definition says. `info`
// is the monitor's answer to that request.
void resources_apply(struct domain *domain, const char *info);
// Removes the control group.
void resources_release(struct domain *domain);

// KiB that the monitor holds, the guest's memory included: as its process has them, or, where that
// is not told, its group. 0: unknown.
uint64_t resources_resident(const struct domain *domain);

// A running domain's. False: errno says why.
bool resources_pin(struct domain *domain, unsigned vcpu, const uint8_t *map);
bool resources_set_shares(struct domain *domain, uint64_t shares);
// Each vCPU's time, us in a period of as many; a negative quota is none.
bool resources_set_quota(struct domain *domain, uint64_t period, int64_t quota);

// Where a vCPU may run by the definition: its <vcpupin>, <vcpu cpuset=…>, or all of the host's.
void resources_cpuset(const struct domain *domain, unsigned vcpu, uint8_t map[CPUSET_BYTES]);
