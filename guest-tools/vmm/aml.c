// SPDX-License-Identifier: BSD-2-Clause
// Encodings of the few AML terms the tables need.
#include "aml.h"

#include <string.h>

#include "error.h"

// Section 20.3, table 20.2.
enum aml_opcode {
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_STRING = 0x0d,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_METHOD = 0x14,
    AML_EXTENDED = 0x5b,
    AML_EXTENDED_REGION = 0x80,
    AML_EXTENDED_FIELD = 0x81,
    AML_EXTENDED_DEVICE = 0x82,
    AML_ARG0 = 0x68,
    AML_ARG1 = 0x69,
    AML_STORE = 0x70,
    AML_NOTIFY = 0x86,
    AML_EQUAL = 0x93,
    AML_IF = 0xa0,
    AML_RETURN = 0xa4,
};

// Every package length is written in its three-byte form (20.2.4), good for 1 MiB.
#define PACKAGE_LENGTH_BYTES 3
#define PACKAGE_LENGTH_MAX   0xfffff

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
    aml->data[start] = (uint8_t)((PACKAGE_LENGTH_BYTES - 1) << 6 | (length & 0xf));
    aml->data[start + 1] = (uint8_t)(length >> 4);
    aml->data[start + 2] = (uint8_t)(length >> 12);
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

void aml_name_string(struct aml *aml, const char *text, const char *value) {
    name(aml, text);
    byte(aml, AML_STRING);
    aml_bytes(aml, value, strlen(value) + 1);
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

void aml_name_buffer(struct aml *aml, const char *text, const void *bytes, uint8_t size) {
    name(aml, text);
    byte(aml, AML_BUFFER);
    size_t start = begin(aml);
    byte(aml, AML_BYTE);
    byte(aml, size);
    aml_bytes(aml, bytes, size);
    aml_end(aml, start);
}

static void name_resources(struct aml *aml, const void *template, uint8_t size) {
    aml_name_buffer(aml, "_CRS", template, size);
}

// Section 6.4.2.5: a port descriptor.
struct __attribute__((packed)) ports_descriptor {
    uint8_t tag, decode16;
    uint16_t min, max;
    uint8_t alignment, length;
};

static struct ports_descriptor ports_descriptor(uint16_t port, uint8_t ports) {
    return (struct ports_descriptor){
        .tag = 0x47, .decode16 = 1, .min = port, .max = port, .alignment = 1, .length = ports};
}

#define END_TAG 0x79 // 6.4.2.9; a checksum of 0 is not looked at

struct __attribute__((packed)) interrupt_descriptor {
    uint8_t tag; // 6.4.3.6
    uint16_t size;
    uint8_t flags, count;
    uint32_t interrupt;
};

static struct interrupt_descriptor interrupt_descriptor(uint32_t interrupt) {
    return (struct interrupt_descriptor){.tag = 0x89,
                                         .size = 6,
                                         .flags = 0x03,
                                         .count = 1,
                                         .interrupt = interrupt}; // consumer, edge
}

void aml_interrupt_resource(struct aml *aml, uint32_t interrupt) {
    const struct __attribute__((packed)) {
        struct interrupt_descriptor interrupt;
        uint8_t end_tag, end_checksum;
    } template = {.interrupt = interrupt_descriptor(interrupt), .end_tag = END_TAG};

    name_resources(aml, &template, sizeof(template));
}

void aml_port_resources(struct aml *aml, uint16_t port, uint8_t ports, uint32_t interrupt) {
    uint8_t template[32] = {0};
    struct aml bytes = {.data = template, .capacity = sizeof(template)};
    const struct ports_descriptor port_range = ports_descriptor(port, ports);
    const struct interrupt_descriptor line = interrupt_descriptor(interrupt);

    aml_bytes(&bytes, &port_range, sizeof(port_range));
    if (interrupt) {
        aml_bytes(&bytes, &line, sizeof(line));
    }
    byte(&bytes, END_TAG);
    byte(&bytes, 0);
    name_resources(aml, template, (uint8_t)bytes.used);
}

size_t aml_method(struct aml *aml, const char *text, uint8_t flags) {
    byte(aml, AML_METHOD);
    size_t start = begin(aml);
    aml_bytes(aml, text, strlen(text));
    byte(aml, flags);
    return start;
}

static void word(struct aml *aml, uint16_t value) {
    byte(aml, AML_WORD);
    aml_bytes(aml, &value, sizeof(value));
}

void aml_method_store(struct aml *aml, const char *text, uint8_t flags, uint16_t value,
                      const char *target) {
    size_t start = aml_method(aml, text, flags);

    byte(aml, AML_STORE);
    word(aml, value);
    aml_bytes(aml, target, strlen(target));
    aml_end(aml, start);
}

void aml_method_ask(struct aml *aml, const char *text, const char *asked, uint16_t value) {
    size_t start = aml_method(aml, text, 0);

    byte(aml, AML_RETURN);
    aml_bytes(aml, asked, strlen(asked));
    word(aml, value);
    aml_end(aml, start);
}

void aml_notify_where(struct aml *aml, uint16_t value, const char *object) {
    byte(aml, AML_IF);
    size_t start = begin(aml);
    byte(aml, AML_EQUAL);
    byte(aml, AML_ARG0);
    word(aml, value);
    byte(aml, AML_NOTIFY);
    aml_bytes(aml, object, strlen(object));
    byte(aml, AML_ARG1);
    aml_end(aml, start);
}

void aml_port_fields(struct aml *aml, const char *region, uint16_t port, const char *fields) {
    enum { SYSTEM_IO = 1, DWORD_ACCESS = 3, BITS = 32 };
    unsigned count = (unsigned)strlen(fields) / 4;

    byte(aml, AML_EXTENDED);
    byte(aml, AML_EXTENDED_REGION);
    aml_bytes(aml, region, strlen(region));
    byte(aml, SYSTEM_IO);
    word(aml, port);
    word(aml, (uint16_t)(count * sizeof(uint32_t)));
    byte(aml, AML_EXTENDED);
    byte(aml, AML_EXTENDED_FIELD);
    size_t start = begin(aml);
    aml_bytes(aml, region, strlen(region));
    byte(aml, DWORD_ACCESS);
    for (unsigned i = 0; i < count; i++) {
        aml_bytes(aml, fields + 4 * i, 4);
        byte(aml, BITS);
    }
    aml_end(aml, start);
}

void aml_memory_resource(struct aml *aml, uint32_t address, uint32_t size) {
    const struct __attribute__((packed)) {
        uint8_t tag; // 6.4.3.4
        uint16_t length;
        uint8_t writable;
        uint32_t base, size;
        uint8_t end_tag, end_checksum;
    } template = {
        .tag = 0x86, .length = 9, .writable = 1, .base = address, .size = size, .end_tag = END_TAG};

    name_resources(aml, &template, sizeof(template));
}

// 6.4.3.5: address space descriptors, whose ends are both fixed.
enum { MEMORY = 0, PORTS = 1, BUSES = 2, MIN_AND_MAX_FIXED = 0x0c, MEMORY_WRITABLE = 1 };

struct __attribute__((packed)) word_space { // 6.4.3.5.3
    uint8_t tag;
    uint16_t descriptor_length;
    uint8_t type, flags, specific;
    uint16_t granularity, min, max, translation, length;
};

static struct word_space word_space(uint8_t type, struct aml_window window) {
    const uint8_t entire_range = 3; // of a PORTS descriptor; nothing in one of BUSES

    return (struct word_space){.tag = 0x88,
                               .descriptor_length = 13,
                               .type = type,
                               .flags = MIN_AND_MAX_FIXED,
                               .specific = type == PORTS ? entire_range : 0,
                               .min = (uint16_t)window.start,
                               .max = (uint16_t)(window.end - 1),
                               .length = (uint16_t)(window.end - window.start)};
}

void aml_pci_resources(struct aml *aml, uint16_t config_port, struct aml_window memory,
                       struct aml_window ports) {
    const struct __attribute__((packed)) {
        struct word_space buses;
        struct ports_descriptor config;
        struct word_space ports;
        uint8_t memory_tag; // 6.4.3.5.2
        uint16_t memory_length;
        uint8_t memory_type, memory_flags, memory_specific;
        uint32_t granularity, min, max, translation, size;
        uint8_t end_tag, end_checksum;
    } template = {
        .buses = word_space(BUSES, (struct aml_window){0, 1}),
        .config = ports_descriptor(config_port, 8),
        .ports = word_space(PORTS, ports),
        .memory_tag = 0x87,
        .memory_length = 23,
        .memory_type = MEMORY,
        .memory_flags = MIN_AND_MAX_FIXED,
        .memory_specific = MEMORY_WRITABLE,
        .min = memory.start,
        .max = memory.end - 1,
        .size = memory.end - memory.start,
        .end_tag = END_TAG,
    };

    name_resources(aml, &template, sizeof(template));
}
