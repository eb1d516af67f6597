// SPDX-License-Identifier: BSD-2-Clause
// A Unix stream socket, at a path of the command line, to which others connect.
#pragma once

// Listens, with room for `backlog` that are not accepted yet; accept does not wait. What lies at
// the path goes. Exits with a message that names the option where it cannot.
int listener_open(const char *option, const char *path, int backlog);
