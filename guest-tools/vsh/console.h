// SPDX-License-Identifier: BSD-2-Clause
// A domain's console on the terminal.
#pragma once

#include "client.h"

enum console_end {
    CONSOLE_FAILED,   // client->error says why
    CONSOLE_DETACHED, // Ctrl-]
    CONSOLE_ENDED,    // the domain has ended
    CONSOLE_LOST,     // virtd has ended
};

// Attaches the terminal until one of them ends it.
enum console_end console_attach(struct client *client, const struct domain_name *domain);
