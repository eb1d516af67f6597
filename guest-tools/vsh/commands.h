// SPDX-License-Identifier: BSD-2-Clause
// What vsh understands: virsh's verbs.
#pragma once

#include "client.h"

enum command_end {
    COMMAND_DONE,
    COMMAND_FAILED,       // after a message
    COMMAND_DETACHED,     // from a console
    COMMAND_DOMAIN_ENDED, // while its console was attached
    COMMAND_DOMAIN_CRASHED,
    COMMAND_QUIT,
};

enum { COMMAND_WORDS = 16 };

// Obeys a command of `count` words, at least one.
enum command_end command_obey(struct client *client, char **words, int count);
