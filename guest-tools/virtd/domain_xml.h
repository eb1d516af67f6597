// SPDX-License-Identifier: BSD-2-Clause
// Domain XML (libvirt's formatdomain): what is accepted, the defaults, and what it says.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"
#include "xml.h"

// Reads and checks a definition and fills in what it leaves open. Returns NULL, a code and a
// sentence, which the caller frees, where it is refused.
struct xml *domain_xml_read(const char *text, size_t length, enum error_code *code,
                            char **sentence);

// Whether a definition can be read again once it is written: what clients say of it in calls may be
// no XML, or refused in a definition.
bool domain_xml_is_readable(const struct xml *domain);

// Whether a checked definition takes another disk or interface, whose defaults are filled in then.
// Otherwise a code and a sentence, as above.
bool domain_xml_plug(const struct xml *domain, struct xml **device, enum error_code *code,
                     char **sentence);
// Adds one, which then is the definition's.
void domain_xml_insert(struct xml *domain, struct xml *device);
// A disk by its target, or an interface by its MAC address; NULL: there is none.
struct xml *domain_xml_device(const struct xml *domain, const char *id);
// That name of a disk or interface; NULL: it has none, or is another element.
const char *device_id(const struct xml *device);

// Names the devices of what runs, for a client to read.
void domain_xml_set_aliases(struct xml *domain);

// Of a checked definition.
uint64_t domain_memory(const struct xml *xml);         // KiB
uint64_t domain_current_memory(const struct xml *xml); // KiB
unsigned domain_max_vcpus(const struct xml *xml);
unsigned domain_vcpus(const struct xml *xml);
void domain_set_vcpus(struct xml *xml, unsigned count);

// A set of CPUs as libvirt writes it, "0-3,^2,5", to a bit map of `bytes`. False: malformed or
// beyond the map.
bool cpuset_parse(const char *text, uint8_t *map, unsigned bytes);
char *cpuset_format(const uint8_t *map, unsigned bytes); // the caller frees it
