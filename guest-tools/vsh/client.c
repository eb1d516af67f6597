// SPDX-License-Identifier: BSD-2-Clause
// libvirt's RPC from a client's side.
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CONNECT_OPEN = 1,
    LOOKUP_BY_ID = 22,
    LOOKUP_BY_NAME = 23,
    CHUNK = 65536,
    PATIENCE_MS = 10000,
    RETRY_MS = 10
};

static bool send_packet(struct client *client, const struct packet *packet, const void *payload,
                        size_t length) {
    struct buffer out = {0};
    size_t begin = packet_begin(&out, packet), done = 0;

    buffer_append(&out, payload, length);
    packet_end(&out, begin);
    while (done < out.length) {
        ssize_t n = send(client->fd, out.data + done, out.length - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    bool sent = done == out.length;
    buffer_free(&out);
    return sent;
}

static struct packet header_of(const struct client *client) {
    struct xdr_reader reader = {.at = client->in.data, .end = client->in.data + PACKET_HEADER};
    struct packet packet;

    packet.length = xdr_get_u32(&reader);
    packet.program = xdr_get_u32(&reader);
    packet.version = xdr_get_u32(&reader);
    packet.procedure = xdr_get_u32(&reader);
    packet.type = xdr_get_u32(&reader);
    packet.serial = xdr_get_u32(&reader);
    packet.status = xdr_get_u32(&reader);
    return packet;
}

int client_receive(struct client *client, bool wait, struct packet *packet,
                   struct xdr_reader *payload) {
    buffer_consume(&client->in, client->taken);
    client->taken = 0;
    for (;;) {
        if (client->in.length >= PACKET_HEADER) {
            *packet = header_of(client);
            if (packet->length < PACKET_HEADER) {
                return -1;
            }
            if (client->in.length >= packet->length) {
                *payload = (struct xdr_reader){.at = client->in.data + PACKET_HEADER,
                                               .end = client->in.data + packet->length};
                client->taken = packet->length;
                return 1;
            }
        }
        ssize_t n =
            recv(client->fd, buffer_room(&client->in, CHUNK), CHUNK, wait ? 0 : MSG_DONTWAIT);
        if (n > 0) {
            client->in.length += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            return 0;
        } else if (n == 0 || errno != EINTR) {
            return -1;
        }
    }
}

bool client_call(struct client *client, uint32_t procedure, struct buffer *arguments,
                 struct xdr_reader *reply) {
    struct packet packet = {.program = PROGRAM_REMOTE,
                            .procedure = procedure,
                            .type = PACKET_CALL,
                            .serial = ++client->serial};
    bool sent = send_packet(client, &packet, arguments->data, arguments->length);

    arguments->length = 0;
    do { // what is left of an earlier stream goes
        if (!sent || client_receive(client, true, &packet, reply) < 0) {
            snprintf(client->error, sizeof(client->error), "virtd has ended the connection");
            client->lost = true;
            return false;
        }
    } while (packet.type != PACKET_REPLY || packet.serial != client->serial);
    if (packet.status != PACKET_OK) {
        xdr_get_u32(reply);
        xdr_get_u32(reply);
        const char *sentence = xdr_get_optional_string(reply);
        snprintf(client->error, sizeof(client->error), "%s", sentence ? sentence : "it failed");
        return false;
    }
    return true;
}

bool client_send_stream(struct client *client, uint32_t procedure, uint32_t serial,
                        enum packet_status status, const void *data, size_t length) {
    const struct packet packet = {.program = PROGRAM_REMOTE,
                                  .procedure = procedure,
                                  .type = PACKET_STREAM,
                                  .serial = serial,
                                  .status = status};

    return send_packet(client, &packet, data, length);
}

bool client_open(struct client *client, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct buffer arguments = {0};
    struct xdr_reader reply;
    int waited = 0;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    *client = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .path = path};
    while (connect(client->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        if ((errno != ENOENT && errno != ECONNREFUSED) || waited >= PATIENCE_MS) {
            snprintf(client->error, sizeof(client->error), "cannot connect to %s: %s", path,
                     strerror(errno));
            return false;
        }
        poll(NULL, 0, RETRY_MS);
        waited += RETRY_MS;
    }
    xdr_put_optional_string(&arguments, "qemu:///system");
    xdr_put_u32(&arguments, 0);
    return client_call(client, CONNECT_OPEN, &arguments, &reply);
}

bool client_reopen(struct client *client) {
    close(client->fd);
    buffer_free(&client->in);
    return client_open(client, client->path);
}

void put_domain_name(struct buffer *to, const struct domain_name *domain) {
    xdr_put_string(to, domain->name);
    xdr_put_fixed(to, domain->uuid, sizeof(domain->uuid));
    xdr_put_u32(to, (uint32_t)domain->id);
}

void get_domain_name(struct xdr_reader *from, struct domain_name *domain) {
    *domain = (struct domain_name){0};
    snprintf(domain->name, sizeof(domain->name), "%s", xdr_get_string(from));
    memcpy(domain->uuid, xdr_get_fixed(from, sizeof(domain->uuid)), sizeof(domain->uuid));
    domain->id = (int32_t)xdr_get_u32(from);
}

bool client_lookup(struct client *client, const char *name, struct domain_name *domain) {
    struct buffer arguments = {0};
    struct xdr_reader reply;
    char *end;
    unsigned long id = strtoul(name, &end, 10);
    bool found = false;

    if (*name && !*end) { // an id, or a name of digits
        xdr_put_u32(&arguments, (uint32_t)id);
        found = client_call(client, LOOKUP_BY_ID, &arguments, &reply);
        buffer_free(&arguments);
    }
    if (!found) {
        xdr_put_string(&arguments, name);
        found = client_call(client, LOOKUP_BY_NAME, &arguments, &reply);
        buffer_free(&arguments);
    }
    if (!found) {
        return false;
    }
    get_domain_name(&reply, domain);
    return true;
}
