// SPDX-License-Identifier: BSD-2-Clause
// What the monitors and the driver domain have counted, gathered without waiting for any of them
// alone.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

struct domain;
struct xml;
struct snapshot;

#define DRIVERS_SOCKET "/run/drivers/statistics"

// Gathers the counters of one domain, or of all (NULL), and calls done, later, with what has come
// by then. The snapshot is valid while done runs; domains may have come and gone.
void statistics_gather(struct domain *domain,
                       void (*done)(const struct snapshot *snapshot, void *context), void *context);

// A number of the domain's monitor (guest-tools/vmm/control.h), or the fallback.
uint64_t snapshot_number(const struct snapshot *snapshot, const struct domain *domain,
                         uint64_t fallback, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Calls visit for each counter of a vCPU that KVM keeps.
void snapshot_each_counter(const struct snapshot *snapshot, const struct domain *domain,
                           unsigned vcpu,
                           void (*visit)(const char *name, uint64_t value, void *context),
                           void *context);
uint64_t snapshot_cpu_time(const struct snapshot *snapshot, const struct domain *domain); // ns
// KiB the guest has.
uint64_t snapshot_memory(const struct snapshot *snapshot, const struct domain *domain);

enum { BLOCK_COUNTERS = 8, NET_COUNTERS = 8 };

// rd requests, bytes, ns; wr requests, bytes, ns; fl requests, ns. `disk` is one of the domain's
// elements.
void snapshot_block(const struct snapshot *snapshot, const struct domain *domain,
                    const struct xml *disk, uint64_t counters[BLOCK_COUNTERS]);
// How many of the disk's requests have failed.
uint64_t snapshot_block_errors(const struct snapshot *snapshot, const struct domain *domain,
                               const struct xml *disk);
// rx bytes, packets, errors, dropped; the same of tx.
void snapshot_net(const struct snapshot *snapshot, const struct xml *interface,
                  uint64_t counters[NET_COUNTERS]);

// The domain's disks and interfaces, one after the other; NULL: no more. `device` is "disk" or
// "interface".
const struct xml *first_device(const struct domain *domain, const char *device);
// Where the device's bytes are: a file, a block device or a socket.
const char *device_source(const struct xml *device);
// Whether that is the disk's or interface's target, MAC address or source.
bool device_is_called(const struct xml *device, const char *name);
