// SPDX-License-Identifier: BSD-2-Clause
#include "drivers/net/segments.h"

#include <arpa/inet.h>
#include <string.h>

// Offsets in the headers of IPv4 (RFC 791), IPv6 (RFC 8200) and TCP (RFC 9293).
enum {
    VLAN_SIZE = 4,
    IPV4_LENGTH = 2,
    IPV4_ID = 4,
    IPV4_CHECKSUM = 10,
    IPV4_SIZE = 20,
    IPV6_LENGTH = 4,
    IPV6_SIZE = 40,
    TCP_SEQUENCE = 4,
    TCP_SIZE_FLAGS = 12,
    TCP_CHECKSUM = 16,
    TCP_SIZE = 20,
};

#define HEADERS_MAX 512u // each segment has them
#define SEGMENT_MIN 8u   // Linux's least
#define TCP_FIN_PSH 0x0009u
#define TCP_CWR     0x0080u

static uint16_t get(const struct net_frame *frame, uint32_t at) {
    return (uint16_t)(frame->bytes[at] << 8 | frame->bytes[at + 1]);
}

static void put(struct net_frame *frame, uint32_t at, uint32_t value) {
    frame->bytes[at] = (uint8_t)(value >> 8);
    frame->bytes[at + 1] = (uint8_t)value;
}

static uint16_t fold(uint32_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

// Where IP begins, behind VLAN tags; 0: it is none of that type.
static uint32_t find_ip(const struct net_frame *frame, uint16_t type) {
    uint32_t at = ETH_HLEN - 2;

    while (at + VLAN_SIZE + IPV4_SIZE <= frame->length &&
           (get(frame, at) == ETH_P_8021Q || get(frame, at) == ETH_P_8021AD))
        at += VLAN_SIZE;
    return at + 2 + IPV4_SIZE <= frame->length && get(frame, at) == type ? at + 2 : 0;
}

static uint32_t tcp_size(const struct net_frame *frame) {
    return frame->bytes[frame->checksum_start + TCP_SIZE_FLAGS] >> 4 << 2;
}

bool net_frame_set_segments(struct net_frame *frame, const struct virtio_net_hdr *header) {
    uint32_t tcp = frame->checksum_start;
    uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
    bool ipv4 = type == VIRTIO_NET_HDR_GSO_TCPV4;

    if ((!ipv4 && type != VIRTIO_NET_HDR_GSO_TCPV6) || header->gso_size < SEGMENT_MIN ||
        !frame->checksum_at || frame->checksum_at != tcp + TCP_CHECKSUM ||
        tcp + TCP_SIZE > frame->length)
        return false;
    uint32_t ip = find_ip(frame, ipv4 ? ETH_P_IP : ETH_P_IPV6);
    uint32_t headers = tcp + tcp_size(frame);
    if (!ip || tcp_size(frame) < TCP_SIZE || headers >= frame->length || headers > HEADERS_MAX ||
        (ipv4 ? tcp != ip + (frame->bytes[ip] & 0xfu) * 4 || tcp < ip + IPV4_SIZE
              : tcp < ip + IPV6_SIZE))
        return false;
    frame->gso_type = header->gso_type;
    frame->segment_size = header->gso_size;
    frame->headers = headers;
    return true;
}

static void finish_ip(struct net_frame *segment, bool ipv4, uint32_t number) {
    uint32_t ip = find_ip(segment, ipv4 ? ETH_P_IP : ETH_P_IPV6), sum = 0;

    if (!ipv4) {
        put(segment, ip + IPV6_LENGTH, segment->length - ip - IPV6_SIZE);
        return;
    }
    put(segment, ip + IPV4_LENGTH, segment->length - ip);
    put(segment, ip + IPV4_ID, get(segment, ip + IPV4_ID) + number);
    put(segment, ip + IPV4_CHECKSUM, 0);
    for (uint32_t at = ip; at < segment->checksum_start; at += 2)
        sum += get(segment, at);
    put(segment, ip + IPV4_CHECKSUM, (uint16_t)~fold(sum));
}

struct net_frame *net_frame_segment(const struct net_frame *frame, uint32_t position) {
    uint32_t left = frame->length - frame->headers - position;
    uint32_t size = left < frame->segment_size ? left : frame->segment_size;
    struct net_frame *segment = net_frame_new(frame->headers + size);
    uint32_t tcp = frame->checksum_start, sequence;

    if (!segment)
        return NULL;
    memcpy(segment->bytes, frame->bytes, frame->headers);
    memcpy(segment->bytes + frame->headers, frame->bytes + frame->headers + position, size);
    segment->checksum_start = frame->checksum_start;
    segment->checksum_at = frame->checksum_at;
    finish_ip(segment, (frame->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV4,
              position / frame->segment_size);
    memcpy(&sequence, segment->bytes + tcp + TCP_SEQUENCE, sizeof(sequence));
    sequence = htonl(ntohl(sequence) + position);
    memcpy(segment->bytes + tcp + TCP_SEQUENCE, &sequence, sizeof(sequence));
    // The end is the last one's to tell, a reduced window the first one's (RFC 3168).
    uint32_t cleared = (size < left ? TCP_FIN_PSH : 0) | (position ? TCP_CWR : 0);
    put(segment, tcp + TCP_SIZE_FLAGS, get(segment, tcp + TCP_SIZE_FLAGS) & ~cleared);
    // The pseudo header has TCP's length.
    uint32_t before = frame->length - tcp, after = segment->length - tcp;
    put(segment, tcp + TCP_CHECKSUM,
        fold(get(segment, tcp + TCP_CHECKSUM) + (uint16_t)~fold(before) + after));
    return segment;
}
