# SPDX-License-Identifier: BSD-2-Clause
"""The drivers of disk controllers (drivers/) at the emulators' devices, over VFIO: tests/programs/disks.c."""

import os

import emulator
from harness import case

TIMEOUT = 400
BOCHS_SLAVE = "0000:00:01.1,1"
QEMU_DISKS = " ".join(f"{disk},{emulator.WithDisks.BAD_SECTOR}" for disk in emulator.WithDisks.DISKS.values())


def add(machine, disks):
    @case(f"disk drivers, {machine}", machine)
    def run(test):
        test.boot(program=os.path.join(test.out, "tests/disks"), args=disks)
        status = test.wait_end(TIMEOUT)
        test.check(status == 0, f"disks exited with {status}")


add("bochs-disks", BOCHS_SLAVE)
for name in ("disks", "disks-vtd", "disks-amdvi"):
    add(name, QEMU_DISKS)
