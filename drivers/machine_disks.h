// SPDX-License-Identifier: BSD-2-Clause
// The disks at the machine's controllers: NVMe, AHCI, IDE, virtio.
#pragma once

#include <stdio.h>

#include "drivers/block/block_device.h"

struct machine_disk {
    char address[16]; // of the controller on the PCI bus, "0000:00:04.0"
    unsigned unit;    // NVMe's namespace, AHCI's port, IDE's channel * 2 + drive; else 0
    struct block_device *device;
    const struct machine_disk *next;
};

// The disks of the controller at a PCI address, or of all controllers (NULL). A controller is taken
// over and reset when it is first asked for, and kept. NULL where there are none; why a controller
// cannot be used is said on standard error.
const struct machine_disk *machine_disks(const char *address);

// A line for each disk: how --disk names it, its size and its serial number.
void machine_disks_list(FILE *file);
