// SPDX-License-Identifier: BSD-2-Clause
// Processors and shares of a running domain: where its vCPUs may run, and its control group.
#pragma once

struct domain;

// Puts the monitor into the domain's control group and its vCPUs where the definition says. `info`
// is the monitor's answer to that request.
void resources_apply(struct domain *domain, const char *info);
// Removes the control group.
void resources_release(struct domain *domain);
