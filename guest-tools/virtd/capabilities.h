// SPDX-License-Identifier: BSD-2-Clause
// What the host is and what a domain may have, as libvirt's two documents of it.
#pragma once

#include "buffer.h"

// major * 1000000 + minor * 1000 + release
#define HYPERVISOR_VERSION 1000000ull
#define LIBVIRT_VERSION    9000000ull // whose protocol and XML this is
#define VCPUS_MAX          1024u
#define MACHINE            "ashlar"

void capabilities_print(struct buffer *to);
void domain_capabilities_print(struct buffer *to);
unsigned host_cpus(void);
