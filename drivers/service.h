// SPDX-License-Identifier: BSD-2-Clause
// A disk and the socket at which front ends find it.
#pragma once

#include "drivers/options.h"

struct service;

// Opens the disk and listens. NULL after a message on standard error.
struct service *service_open(const struct disk_options *options);

// Takes front ends for ever; each is served by a thread of its own. For pthread_create.
void *service_run(void *service);
