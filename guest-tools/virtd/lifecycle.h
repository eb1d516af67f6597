// SPDX-License-Identifier: BSD-2-Clause
// Starting and ending of domains, and their policies (on_poweroff, on_reboot, on_crash).
#pragma once

#include <stdbool.h>

struct call;
struct domain;
struct vmm;
struct xml;

// Starts a domain that is off with `xml`, which it owns from then on, as what runs. A call that is
// given is ended, with the domain as its reply where `reply_domain`.
void lifecycle_start(struct domain *domain, struct xml *xml, bool paused, struct call *call,
                     bool reply_domain);
// A domain that an earlier virtd has started, and that was found again.
void lifecycle_found(struct domain *domain, int id);
// Whether a monitor that was found has yet to say what its domain does.
bool lifecycle_finding(void);

// From the monitor: an event's name; and that it has ended, when domain->vmm is NULL already. The
// domain may be gone afterwards.
void lifecycle_event(struct domain *domain, const char *name);
void lifecycle_ended(struct domain *domain, const struct vmm *vmm);
