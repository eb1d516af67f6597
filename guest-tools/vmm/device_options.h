// SPDX-License-Identifier: BSD-2-Clause
// The options that add devices: lists of key=value, as cloud-hypervisor writes them.
#pragma once

#include "options.h"

// Each adds what its argument says to *options; a bad argument is a usage error.
void parse_disk(struct options *options, char *argument);
void parse_net(struct options *options, char *argument);
void parse_channel(struct options *options, char *argument);
void parse_rng(struct options *options, char *argument);
void parse_balloon(struct options *options, char *argument);
