// SPDX-License-Identifier: BSD-2-Clause
// The VFIO API of Linux 6.1 (<linux/vfio.h>): programs drive devices of the machine.
#pragma once
#include <stdbool.h>

// Registers /dev/vfio, /sys/bus/pci and /sys/kernel/iommu_groups. `trusted`: devices are given out
// even where no IOMMU keeps them in bounds. After root_init.
void vfio_register(bool trusted);
