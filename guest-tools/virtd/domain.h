// SPDX-License-Identifier: BSD-2-Clause
// Domains: what is defined, what runs, and the states between. Numbers are libvirt's
// (libvirt-domain.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "xml.h"

struct vmm;

enum { UUID_BYTES = 16, UUID_TEXT = 37 };

enum domain_state {
    STATE_RUNNING = 1,
    STATE_PAUSED = 3,
    STATE_SHUTDOWN = 4, // the guest was asked to, or is at it
    STATE_SHUTOFF = 5,
    STATE_CRASHED = 6,
};
enum {
    RUNNING_BOOTED = 1,
    RUNNING_UNPAUSED = 5,
    PAUSED_USER = 1,
    PAUSED_STARTING_UP = 11,
    SHUTOFF_UNKNOWN = 0,
    SHUTOFF_SHUTDOWN = 1,
    SHUTOFF_DESTROYED = 2,
    SHUTOFF_CRASHED = 3,
    SHUTOFF_FAILED = 6,
};

struct domain {
    struct domain *next;
    char *name;
    uint8_t uuid[UUID_BYTES];
    int id; // -1: does not run
    enum domain_state state;
    unsigned reason;
    bool autostart;
    struct xml *config; // the persistent definition; NULL: transient, gone when it ends
    struct xml *live;   // what runs; NULL when off
    struct vmm *vmm;    // the connection to the monitor; NULL when off
};

extern struct domain *domains; // in the order they came

struct domain *domain_by_uuid(const uint8_t *uuid);
struct domain *domain_by_name(const char *name);
struct domain *domain_by_id(int id);

// The definition that counts: the live one, or the persistent one.
const struct xml *domain_xml(const struct domain *domain);
bool domain_active(const struct domain *domain);
void domain_set_state(struct domain *domain, enum domain_state state, unsigned reason);

// Gives interfaces of what runs that have no <target dev> one, vnetN, as on Linux: statistics are
// asked for by it.
void domain_name_interfaces(struct domain *domain);

// Adds a domain with the name and uuid of a checked document.
struct domain *domain_add(const struct xml *xml);
// Removes a domain that neither runs nor is persistent.
void domain_remove(struct domain *domain);

void uuid_format(const uint8_t *uuid, char text[UUID_TEXT]);
bool uuid_parse(const char *text, uint8_t *uuid); // with or without hyphens

// name | uuid | id
void xdr_put_domain(struct buffer *to, const struct domain *domain);
