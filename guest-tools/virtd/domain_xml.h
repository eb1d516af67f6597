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

// Of a checked definition.
uint64_t domain_memory(const struct xml *xml);         // KiB
uint64_t domain_current_memory(const struct xml *xml); // KiB
unsigned domain_max_vcpus(const struct xml *xml);
unsigned domain_vcpus(const struct xml *xml);

// A set of CPUs as libvirt writes it, "0-3,^2,5", to a bit map of `bytes`. False: malformed or
// beyond the map.
bool cpuset_parse(const char *text, uint8_t *map, unsigned bytes);
char *cpuset_format(const uint8_t *map, unsigned bytes); // the caller frees it
