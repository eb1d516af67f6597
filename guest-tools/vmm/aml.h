// SPDX-License-Identifier: BSD-2-Clause
// An emitter of ACPI Machine Language: ACPI specification 6.4, chapter 20.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Bytes are appended to data until capacity, which is a fatal error to exceed.
struct aml {
    uint8_t *data;
    size_t used;
    size_t capacity;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t length);

// Opens an object whose body ends at the matching aml_end, to which the result is passed.
// Names are one segment of four characters, or "\\_SB_" for the root's child.
size_t aml_scope(struct aml *aml, const char *path);
size_t aml_device(struct aml *aml, const char *name);
void aml_end(struct aml *aml, size_t start);

// Name (name, value).
void aml_name_integer(struct aml *aml, const char *name, uint32_t value);
void aml_name_eisa_id(struct aml *aml, const char *name, const char id[7]);
void aml_name_byte_package(struct aml *aml, const char *name, const uint8_t *values, uint8_t count);

struct aml_window {
    uint32_t start, end;
};

// _CRS of a PCI host bridge that owns bus 0, the configuration ports, a window of memory and one of
// ports.
void aml_pci_resources(struct aml *aml, uint16_t config_port, struct aml_window memory,
                       struct aml_window ports);

// Name (name, "text").
void aml_name_string(struct aml *aml, const char *text, const char *value);

// Method (_EVT, 1) that notifies a device of status 0x80 (5.6.6), for a device of events with
// aml_interrupt_resource.
void aml_event_method(struct aml *aml, const char *notified);

// _CRS with one edge-triggered, active-high, exclusive interrupt.
void aml_interrupt_resource(struct aml *aml, uint32_t interrupt);

// _CRS with one fixed block of memory.
void aml_memory_resource(struct aml *aml, uint32_t address, uint32_t size);

// _CRS with one block of ports and, unless it is 0, such an interrupt.
void aml_port_resources(struct aml *aml, uint16_t port, uint8_t ports, uint32_t interrupt);
