// SPDX-License-Identifier: BSD-2-Clause
// Events to the clients that have registered for them. Numbers are libvirt's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct domain;

enum lifecycle_event {
    EVENT_DEFINED,
    EVENT_UNDEFINED,
    EVENT_STARTED,
    EVENT_SUSPENDED,
    EVENT_RESUMED,
    EVENT_STOPPED,
    EVENT_SHUTDOWN,
    EVENT_CRASHED = 8,
};
enum {
    DEFINED_ADDED = 0,
    DEFINED_UPDATED = 1,
    DEFINED_RENAMED = 2,
    UNDEFINED_RENAMED = 1,
    STOPPED_SHUTDOWN = 0,
    STOPPED_DESTROYED = 1,
    STOPPED_CRASHED = 2,
    STOPPED_FAILED = 5,
    SHUTDOWN_FINISHED = 0,
};

void event_lifecycle(const struct domain *domain, enum lifecycle_event event, unsigned detail);
void event_reboot(const struct domain *domain);
// A device is plugged, or the guest has let go of it.
enum device_event {
    EVENT_DEVICE_REMOVED = 15,
    EVENT_DEVICE_ADDED = 19,
    EVENT_DEVICE_REMOVAL_FAILED = 22,
};
void event_device(const struct domain *domain, enum device_event event, const char *id);
// The guest's agent has opened its channel, or closed it.
void event_agent(const struct domain *domain, bool connected);
// `kind` of virDomainMetadataType; `uri` of an element, or NULL.
void event_metadata(const struct domain *domain, uint32_t kind, const char *uri);
void event_balloon(const struct domain *domain, uint64_t kib);
