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

// Name (name, Buffer).
void aml_name_buffer(struct aml *aml, const char *text, const void *bytes, uint8_t size);

// OperationRegion (region, SystemIO, port, ...) with its Field of doublewords, four letters a name.
void aml_port_fields(struct aml *aml, const char *region, uint16_t port, const char *fields);

// Method (name, ...), open until aml_end. flags: how many arguments, AML_SERIALIZED (20.2.5.2).
enum { AML_SERIALIZED = 8 };
size_t aml_method(struct aml *aml, const char *text, uint8_t flags);

// Method (name) {Store (value, target)} and Method (name) {Return (asked (value))}.
void aml_method_store(struct aml *aml, const char *text, uint8_t flags, uint16_t value,
                      const char *target);
void aml_method_ask(struct aml *aml, const char *text, const char *asked, uint16_t value);

// If (Arg0 == value) {Notify (object, Arg1)}.
void aml_notify_where(struct aml *aml, uint16_t value, const char *object);

// _CRS with one edge-triggered, active-high, exclusive interrupt.
void aml_interrupt_resource(struct aml *aml, uint32_t interrupt);

// _CRS with one fixed block of memory.
void aml_memory_resource(struct aml *aml, uint32_t address, uint32_t size);

// _CRS with one block of ports and, unless it is 0, such an interrupt.
void aml_port_resources(struct aml *aml, uint16_t port, uint8_t ports, uint32_t interrupt);
