// SPDX-License-Identifier: BSD-2-Clause
// Headers and error payloads.
#include "packet.h"

#include "xdr.h"

enum { ERROR_LEVEL = 2, DOMAIN_RPC = 7, DOMAIN_QEMU = 10 };

static bool known_program(uint32_t program) {
    return program == PROGRAM_REMOTE || program == PROGRAM_QEMU || program == PROGRAM_LXC ||
           program == PROGRAM_KEEPALIVE;
}

bool packet_parse(struct packet *packet, const uint8_t *data, size_t length) {
    // The reader gives zero for what is not there; zero is sane in every field but three.
    struct xdr_reader reader = {.at = (uint8_t *)data, .end = (uint8_t *)data + length / 4 * 4};

    packet->length = xdr_get_u32(&reader);
    packet->program = xdr_get_u32(&reader);
    packet->version = xdr_get_u32(&reader);
    packet->procedure = xdr_get_u32(&reader);
    packet->type = xdr_get_u32(&reader);
    packet->serial = xdr_get_u32(&reader);
    packet->status = xdr_get_u32(&reader);
    return (length < 4 || (packet->length >= PACKET_HEADER && packet->length <= PACKET_MAX)) &&
           (length < 8 || known_program(packet->program)) &&
           (length < 12 || packet->version == PROGRAM_VERSION) &&
           packet->procedure < PROCEDURES_MAX && packet->type < PACKET_TYPES &&
           packet->status <= PACKET_CONTINUE;
}

size_t packet_begin(struct buffer *to, const struct packet *packet) {
    const uint32_t words[] = {0,
                              packet->program,
                              PROGRAM_VERSION,
                              packet->procedure,
                              packet->type,
                              packet->serial,
                              packet->status};
    size_t begin = to->length;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        xdr_put_u32(to, words[i]);
    }
    return begin;
}

void packet_end(struct buffer *to, size_t begin) {
    uint32_t length = (uint32_t)(to->length - begin);

    for (int i = 0; i < 4; i++) {
        to->data[begin + (size_t)i] = (uint8_t)(length >> (24 - 8 * i));
    }
}

void packet_put_error(struct buffer *to, enum error_code code, const char *sentence) {
    xdr_put_u32(to, code);
    xdr_put_u32(to, code == ERROR_RPC ? DOMAIN_RPC : DOMAIN_QEMU);
    xdr_put_optional_string(to, sentence);
    xdr_put_u32(to, ERROR_LEVEL);
    xdr_put_u32(to, 0); // no domain
    // The client's library makes its own text of str1 and str2 for some codes.
    xdr_put_optional_string(to, "%s");
    xdr_put_optional_string(to, sentence);
    xdr_put_optional_string(to, NULL);
    xdr_put_u32(to, 0);
    xdr_put_u32(to, 0);
    xdr_put_u32(to, 0); // no network
}
