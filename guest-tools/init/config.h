// SPDX-License-Identifier: BSD-2-Clause
// What init is told to start: the keys of /etc/ashlar.conf that concern programs and the guest.
#pragma once

#include <stdbool.h>

#define CONFIG_PATH "/etc/ashlar.conf"

struct config {
    char *program;       // NULL: start the guest
    char *args;          // of program, as a shell command line; NULL: none
    char *guest_cpus;    // as vmm's --cpus takes it
    char *guest_memory;  // MiB
    char *guest_cmdline; // the guest kernel's whole command line
    char *guest_devices; // further options of vmm, as a shell command line; NULL: none
    char *drivers;       // options of the driver domain, likewise; NULL: it is not started
    char *virtd;         // options of virtd, likewise
    bool autostart;      // start the guest where no program is named
};

// Reads "key = value" lines; what the file does not set has its default. A missing file is all
// defaults. Keys that concern others are skipped.
void config_read(struct config *config, const char *path);
