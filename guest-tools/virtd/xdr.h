// SPDX-License-Identifier: BSD-2-Clause
// XDR (RFC 4506) as libvirt's RPC uses it. A reader that has met something malformed is `bad`, and
// all it reads from then on is zero.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

struct xdr_reader {
    uint8_t *at, *end;
    bool bad;
};

uint32_t xdr_get_u32(struct xdr_reader *reader);
uint64_t xdr_get_u64(struct xdr_reader *reader);
// The string lies within the message, over its own length, so that it ends with a NUL. One with a
// NUL inside is malformed.
const char *xdr_get_string(struct xdr_reader *reader);
const char *xdr_get_optional_string(struct xdr_reader *reader); // NULL where it is absent
const uint8_t *xdr_get_opaque(struct xdr_reader *reader, uint32_t *length);
// `length` of 16 at most.
const uint8_t *xdr_get_fixed(struct xdr_reader *reader, uint32_t length);

void xdr_put_u32(struct buffer *to, uint32_t value);
void xdr_put_u64(struct buffer *to, uint64_t value);
void xdr_put_string(struct buffer *to, const char *text);
void xdr_put_optional_string(struct buffer *to, const char *text); // NULL: absent
void xdr_put_opaque(struct buffer *to, const void *data, uint32_t length);
void xdr_put_fixed(struct buffer *to, const void *data, uint32_t length);

// A typed parameter of libvirt: a name and a value with its type.
enum parameter_type {
    PARAMETER_INT = 1,
    PARAMETER_UINT = 2,
    PARAMETER_LLONG = 3,
    PARAMETER_ULLONG = 4,
    PARAMETER_DOUBLE = 5,
    PARAMETER_BOOLEAN = 6,
    PARAMETER_STRING = 7,
};
struct parameter {
    const char *name;
    enum parameter_type type;
    uint64_t value; // of the integer types, sign-extended
    const char *string;
};
struct parameter xdr_get_parameter(struct xdr_reader *reader);
void xdr_put_parameter(struct buffer *to, const char *name, enum parameter_type type,
                       uint64_t value);
void xdr_put_string_parameter(struct buffer *to, const char *name, const char *value);
