// SPDX-License-Identifier: BSD-2-Clause
// What outlives virtd: definitions below options.state, what runs below options.run, each domain's
// in files named by its uuid.
#pragma once

#include <stdbool.h>

struct domain;

// Reads all that is stored, and connects to the monitors that still run.
void store_load(void);
// Starts what is to start with the host, once a boot.
void store_autostart(void);

// Write what the domain's fields say, or remove it where there is nothing to say. False: they could
// not, errno says why; a definition is then as it was.
bool store_config(const struct domain *domain);
bool store_live(const struct domain *domain);
bool store_autostart_flag(const struct domain *domain);
