// SPDX-License-Identifier: BSD-2-Clause
// vCPUs, memory and scheduling of domains.
#include "resources.h"

#include "call.h"
#include "domain.h"

void resources_apply(struct domain *domain, const char *info) {
    (void)domain, (void)info;
}

void resources_release(struct domain *domain) {
    (void)domain;
}

const struct procedure resource_calls[] = {
    {0},
};
