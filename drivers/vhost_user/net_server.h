// SPDX-License-Identifier: BSD-2-Clause
// Joins front ends to a switch: vhost-user's device type "net".
#pragma once

#include "drivers/net/switch.h"
#include "drivers/vhost_user/session.h"

struct net_server {
    struct net_switch *bridge;
    const uint8_t *mac;            // the only source address of its frames; NULL: any
    unsigned queues;               // of both directions together
    struct net_counters *counters; // of all its front ends
};

// Serves a connected front end on the calling thread until it goes; closes the socket.
void net_server_run(const struct net_server *server, int socket);

// What it tells the session of itself.
void net_server_device(const struct net_server *server, struct vhost_user_device *device);
