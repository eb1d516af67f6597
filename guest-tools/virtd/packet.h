// SPDX-License-Identifier: BSD-2-Clause
// A message of libvirt's RPC: a header of 28 bytes, all big-endian, and its payload.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum {
    PACKET_HEADER = 28,
    PACKET_MAX = 1 << 20, // of what a client sends: the largest is a domain's XML
    PROCEDURES_MAX = 512,
};

#define PROGRAM_REMOTE    0x20008086u
#define PROGRAM_QEMU      0x20008087u
#define PROGRAM_LXC       0x00068000u
#define PROGRAM_KEEPALIVE 0x6b656570u
#define PROGRAM_VERSION   1u

enum packet_type {
    PACKET_CALL,
    PACKET_REPLY,
    PACKET_MESSAGE,
    PACKET_STREAM,
    PACKET_CALL_WITH_FDS,
    PACKET_REPLY_WITH_FDS,
    PACKET_STREAM_HOLE,
    PACKET_TYPES,
};
enum packet_status { PACKET_OK, PACKET_ERROR, PACKET_CONTINUE };
enum { KEEPALIVE_PING = 1, KEEPALIVE_PONG = 2 };

// libvirt's error codes (virterror.h).
enum error_code {
    ERROR_INTERNAL = 1,
    ERROR_NO_SUPPORT = 3,
    ERROR_INVALID_ARG = 8,
    ERROR_OPERATION_FAILED = 9,
    ERROR_XML = 27,
    ERROR_DOMAIN_EXISTS = 28,
    ERROR_SYSTEM = 38,
    ERROR_RPC = 39,
    ERROR_NO_DOMAIN = 42,
    ERROR_NO_NETWORK = 43,
    ERROR_AUTH_FAILED = 45,
    ERROR_NO_STORAGE_POOL = 49,
    ERROR_NO_STORAGE_VOLUME = 50,
    ERROR_NO_NODE_DEVICE = 53,
    ERROR_OPERATION_INVALID = 55,
    ERROR_CONFIG_UNSUPPORTED = 67,
    ERROR_NO_DOMAIN_SNAPSHOT = 72,
    ERROR_NO_DOMAIN_METADATA = 80,
    ERROR_OPERATION_UNSUPPORTED = 84,
    ERROR_DEVICE_MISSING = 99,
};

struct packet {
    uint32_t length; // with the header
    uint32_t program, version, procedure, type, serial, status;
};

// Reads a header, of which `length` bytes are there. Returns false as soon as they cannot be the
// beginning of one that a client may send.
bool packet_parse(struct packet *packet, const uint8_t *data, size_t length);

// Appends a header, whose length packet_end fills in; returns where it begins.
size_t packet_begin(struct buffer *to, const struct packet *packet);
void packet_end(struct buffer *to, size_t begin);

// The payload of an error.
void packet_put_error(struct buffer *to, enum error_code code, const char *sentence);
