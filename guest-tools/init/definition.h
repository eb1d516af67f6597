// SPDX-License-Identifier: BSD-2-Clause
// The demonstration guest as a definition of libvirt's, for virtd.
#pragma once

#include <stdbool.h>

#include "config.h"

#define GUEST_NAME "guest"

// Writes what the configuration says of the guest into virtd's directory of definitions. False
// after a message.
bool definition_write(const struct config *config, const char *directory);
