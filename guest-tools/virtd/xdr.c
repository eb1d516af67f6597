// SPDX-License-Identifier: BSD-2-Clause
// XDR, RFC 4506: big-endian words of four bytes; strings and opaque data padded to them.
#include "xdr.h"

#include <string.h>

static uint32_t padded(uint32_t length) {
    return (length + 3) & ~3u;
}

// `length` bytes and their padding, NULL where the message has no such.
static uint8_t *take(struct xdr_reader *reader, uint32_t length) {
    size_t left = (size_t)(reader->end - reader->at);
    uint8_t *at = reader->at;

    if (reader->bad || length > left || padded(length) > left) {
        reader->bad = true;
        return NULL;
    }
    reader->at += padded(length);
    return at;
}

uint32_t xdr_get_u32(struct xdr_reader *reader) {
    const uint8_t *at = take(reader, 4);

    return at ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3] : 0;
}

uint64_t xdr_get_u64(struct xdr_reader *reader) {
    uint64_t high = xdr_get_u32(reader);

    return high << 32 | xdr_get_u32(reader);
}

const char *xdr_get_string(struct xdr_reader *reader) {
    uint32_t length = xdr_get_u32(reader);
    uint8_t *at = take(reader, length);

    if (!at || memchr(at, 0, length)) {
        reader->bad = true;
        return "";
    }
    char *text = (char *)at - 4;
    memmove(text, at, length);
    text[length] = '\0';
    return text;
}

const char *xdr_get_optional_string(struct xdr_reader *reader) {
    return xdr_get_u32(reader) ? xdr_get_string(reader) : NULL;
}

const uint8_t *xdr_get_fixed(struct xdr_reader *reader, uint32_t length) {
    static const uint8_t nothing[16];
    const uint8_t *at = take(reader, length);

    return at ? at : nothing;
}

const uint8_t *xdr_get_opaque(struct xdr_reader *reader, uint32_t *length) {
    uint32_t count = xdr_get_u32(reader);
    const uint8_t *at = take(reader, count);

    *length = at ? count : 0;
    return at;
}

void xdr_put_u32(struct buffer *to, uint32_t value) {
    const uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                             (uint8_t)value};

    buffer_append(to, bytes, sizeof(bytes));
}

void xdr_put_u64(struct buffer *to, uint64_t value) {
    xdr_put_u32(to, (uint32_t)(value >> 32));
    xdr_put_u32(to, (uint32_t)value);
}

void xdr_put_fixed(struct buffer *to, const void *data, uint32_t length) {
    buffer_append(to, data, length);
    buffer_append(to, "\0\0\0", padded(length) - length);
}

void xdr_put_opaque(struct buffer *to, const void *data, uint32_t length) {
    xdr_put_u32(to, length);
    xdr_put_fixed(to, data, length);
}

void xdr_put_string(struct buffer *to, const char *text) {
    xdr_put_opaque(to, text, (uint32_t)strlen(text));
}

void xdr_put_optional_string(struct buffer *to, const char *text) {
    xdr_put_u32(to, text != NULL);
    if (text) {
        xdr_put_string(to, text);
    }
}

struct parameter xdr_get_parameter(struct xdr_reader *reader) {
    struct parameter parameter = {.name = xdr_get_string(reader), .type = xdr_get_u32(reader)};

    switch (parameter.type) {
    case PARAMETER_INT:
        parameter.value = (uint64_t)(int64_t)(int32_t)xdr_get_u32(reader);
        break;
    case PARAMETER_UINT:
    case PARAMETER_BOOLEAN:
        parameter.value = xdr_get_u32(reader);
        break;
    case PARAMETER_LLONG:
    case PARAMETER_ULLONG:
    case PARAMETER_DOUBLE:
        parameter.value = xdr_get_u64(reader);
        break;
    case PARAMETER_STRING:
        parameter.string = xdr_get_string(reader);
        break;
    default:
        reader->bad = true;
    }
    return parameter;
}

void xdr_put_parameter(struct buffer *to, const char *name, enum parameter_type type,
                       uint64_t value) {
    xdr_put_string(to, name);
    xdr_put_u32(to, type);
    if (type == PARAMETER_LLONG || type == PARAMETER_ULLONG || type == PARAMETER_DOUBLE) {
        xdr_put_u64(to, value);
    } else {
        xdr_put_u32(to, (uint32_t)value);
    }
}

void xdr_put_string_parameter(struct buffer *to, const char *name, const char *value) {
    xdr_put_string(to, name);
    xdr_put_u32(to, PARAMETER_STRING);
    xdr_put_string(to, value);
}
