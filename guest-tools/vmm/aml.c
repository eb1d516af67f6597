// SPDX-License-Identifier: BSD-2-Clause
// Encodings of the few AML terms the tables need.
#include "aml.h"

#include <string.h>

#include "error.h"

// Section 20.3, table 20.2.
enum aml_opcode {
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_DWORD = 0x0c,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_EXTENDED = 0x5b,
    AML_EXTENDED_DEVICE = 0x82,
};

// Every package length is written in its two-byte form (20.2.4), good for 4 KiB.
#define PACKAGE_LENGTH_BYTES 2
#define PACKAGE_LENGTH_MAX   0xfff

void aml_bytes(struct aml *aml, const void *bytes, size_t length) {
    if (length > aml->capacity - aml->used) {
        fatal("the ACPI tables do not fit into their place");
    }
    memcpy(aml->data + aml->used, bytes, length);
    aml->used += length;
}

static void byte(struct aml *aml, uint8_t value) {
    aml_bytes(aml, &value, 1);
}

static size_t begin(struct aml *aml) {
    static const uint8_t placeholder[PACKAGE_LENGTH_BYTES];
    size_t start = aml->used;

    aml_bytes(aml, placeholder, sizeof(placeholder));
    return start;
}

void aml_end(struct aml *aml, size_t start) {
    size_t length = aml->used - start;

    if (length > PACKAGE_LENGTH_MAX) {
        fatal("an ACPI object is longer than %d bytes", PACKAGE_LENGTH_MAX);
    }
    aml->data[start] = (uint8_t)(1u << 6 | (length & 0xf));
    aml->data[start + 1] = (uint8_t)(length >> 4);
}

size_t aml_scope(struct aml *aml, const char *path) {
    byte(aml, AML_SCOPE);
    size_t start = begin(aml);
    aml_bytes(aml, path, strlen(path));
    return start;
}

size_t aml_device(struct aml *aml, const char *name) {
    byte(aml, AML_EXTENDED);
    byte(aml, AML_EXTENDED_DEVICE);
    size_t start = begin(aml);
    aml_bytes(aml, name, strlen(name));
    return start;
}

static void name(struct aml *aml, const char *text) {
    byte(aml, AML_NAME);
    aml_bytes(aml, text, strlen(text));
}

void aml_name_integer(struct aml *aml, const char *text, uint32_t value) {
    name(aml, text);
    byte(aml, AML_DWORD);
    aml_bytes(aml, &value, sizeof(value));
}

static uint32_t hex_digit(char digit) {
    return (uint32_t)(digit <= '9' ? digit - '0' : digit - 'A' + 10);
}

// EISAID: three letters of five bits, four hexadecimal digits, big-endian (19.3.4).
void aml_name_eisa_id(struct aml *aml, const char *text, const char id[7]) {
    uint32_t value = 0;

    for (int i = 0; i < 3; i++) {
        value = value << 5 | (uint32_t)(id[i] - '@');
    }
    for (int i = 3; i < 7; i++) {
        value = value << 4 | hex_digit(id[i]);
    }
    aml_name_integer(aml, text, __builtin_bswap32(value));
}

void aml_name_byte_package(struct aml *aml, const char *text, const uint8_t *values,
                           uint8_t count) {
    name(aml, text);
    byte(aml, AML_PACKAGE);
    size_t start = begin(aml);
    byte(aml, count);
    for (uint8_t i = 0; i < count; i++) {
        byte(aml, AML_BYTE);
        byte(aml, values[i]);
    }
    aml_end(aml, start);
}

void aml_port_resources(struct aml *aml, uint16_t port, uint8_t ports, uint32_t interrupt) {
    // Section 6.4: I/O port descriptor, extended interrupt descriptor, end tag without checksum.
    const struct __attribute__((packed)) {
        uint8_t io_tag, io_decode16;
        uint16_t io_min, io_max;
        uint8_t io_alignment, io_length;
        uint8_t irq_tag;
        uint16_t irq_size;
        uint8_t irq_flags, irq_count;
        uint32_t irq;
        uint8_t end_tag, end_checksum;
    } template = {
        .io_tag = 0x47,
        .io_decode16 = 1,
        .io_min = port,
        .io_max = port,
        .io_alignment = 1,
        .io_length = ports,
        .irq_tag = 0x89,
        .irq_size = 6,
        .irq_flags = 0x03, // consumer, edge
        .irq_count = 1,
        .irq = interrupt,
        .end_tag = 0x79,
    };

    name(aml, "_CRS");
    byte(aml, AML_BUFFER);
    size_t start = begin(aml);
    byte(aml, AML_BYTE);
    byte(aml, sizeof(template));
    aml_bytes(aml, &template, sizeof(template));
    aml_end(aml, start);
}
