// SPDX-License-Identifier: BSD-2-Clause
// A socket at which front ends find what is served.
#pragma once

// Listens there; each front end that connects is given to serve, on a thread of its own, which
// closes the socket. 0, or -1 after a message on standard error.
int service_start(const char *path, void (*serve)(const void *server, int socket),
                  const void *server);
