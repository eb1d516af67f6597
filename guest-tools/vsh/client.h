// SPDX-License-Identifier: BSD-2-Clause
// A connection to virtd: one call at a time, and streams.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "guest-tools/virtd/buffer.h"
#include "guest-tools/virtd/packet.h"
#include "guest-tools/virtd/xdr.h"

struct client {
    int fd;
    const char *path; // virtd's socket
    uint32_t serial;  // of the last call
    struct buffer in;
    size_t taken;    // of `in`, by the caller of client_receive before
    char error[512]; // of the last call that failed
    bool lost;       // because virtd has ended
};

// A domain as calls name it.
struct domain_name {
    char name[256];
    uint8_t uuid[16];
    int32_t id; // -1: off
};

// Connects and opens; waits some seconds for a virtd that is just starting. False: error says why.
bool client_open(struct client *client, const char *path);

// Connects again, to a virtd that has been started anew. False: error says why.
bool client_reopen(struct client *client);

// Makes a call and waits for its reply, whose payload `reply` reads until the next call. False: it
// failed, error says why. `arguments` is emptied.
bool client_call(struct client *client, uint32_t procedure, struct buffer *arguments,
                 struct xdr_reader *reply);

// Sends data to the stream that the last call opened; ends it with status PACKET_OK.
bool client_send_stream(struct client *client, uint32_t procedure, uint32_t serial,
                        enum packet_status status, const void *data, size_t length);

// The next whole message; the payload is valid until the next call of this. 1, 0: none is there
// yet, -1: virtd is gone.
int client_receive(struct client *client, bool wait, struct packet *packet,
                   struct xdr_reader *payload);

// By its id or its name.
bool client_lookup(struct client *client, const char *name, struct domain_name *domain);
void put_domain_name(struct buffer *to, const struct domain_name *domain);
void get_domain_name(struct xdr_reader *from, struct domain_name *domain);
