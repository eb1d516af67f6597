# SPDX-License-Identifier: BSD-2-Clause
"""The drivers of disk controllers (drivers/) at the emulators' devices, over VFIO: tests/programs/disks.c, and a Linux
guest that has all of them at once."""

import os

import emulator
from harness import case

TIMEOUT = 400
BOCHS_SLAVE = "0000:00:01.1,1"
# The drivers' words about bad sectors would come between the report's, so that waits for the end.
# Each disk: written from two CPUs at once past the cache, flushed, read back, a bad sector told, discarded.
IN_GUEST = ("try() { head -c 1048576 /dev/urandom >/tmp/$1; "
            "dd if=/tmp/$1 of=/dev/$1 bs=64k oflag=direct conv=fsync,notrunc 2>/dev/null & "
            "dd if=/tmp/$1 of=/dev/$1 bs=64k seek=32 oflag=direct conv=fsync,notrunc 2>/dev/null; wait; "
            "for at in 0 32; do dd if=/dev/$1 bs=64k skip=$at count=16 iflag=direct 2>/dev/null | cmp - /tmp/$1 && "
            "echo $1 at $at: the same; done; "
            "dd if=/dev/$1 of=/dev/null bs=4k skip=%d count=1 iflag=direct 2>/dev/null || echo $1: bad sector; "
            "blkdiscard -l 65536 /dev/$1 && echo $1: discarded; "
            "echo $1: blocks of $(cat /sys/block/$1/queue/logical_block_size); }; "
            "for d in vda vdb vdc vdd; do try $d; done >/tmp/report; "
            "cat /tmp/report; echo $(grep -c 'virtio.*-req' /proc/interrupts) queues" % (emulator.WithDisks.BAD_SECTOR // 8))
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


@case("a guest's disks on NVMe, virtio, AHCI and IDE behind AMD-Vi", "disks-amdvi")
def guest_disks(test):
    drivers = " ".join(f"--disk socket=/run/drivers/{name},device={place.split(',')[0]},unit={place.split(',')[1]},num_queues=2"
                       for name, place in emulator.WithDisks.DISKS.items()) + " --list"
    devices = " ".join(f"--disk vhost_user=true,socket=/run/drivers/{name},num_queues=2" for name in emulator.WithDisks.DISKS)
    test.boot(guest=True, config={
        "guest.cpus": 2, "drivers": drivers, "guest.devices": devices,
        "guest.cmdline": f'console=ttyS0 quiet cryptomgr.notests=1 tsc=reliable nokaslr mitigations=off RUN="{IN_GUEST}"'})
    for name, place in emulator.WithDisks.DISKS.items():
        device, unit = place.split(",")
        test.expect(rf"drivers: disk device={device},unit={unit}: 32 MiB, serial={name}", TIMEOUT)
    for disk in ("vda", "vdb", "vdc", "vdd"):
        for place in (0, 32):
            test.expect(rf"^{disk} at {place}: the same", TIMEOUT)
        test.expect(rf"^{disk}: bad sector", TIMEOUT)
        test.expect(rf"^{disk}: discarded", TIMEOUT)
        test.expect(rf"^{disk}: blocks of {4096 if disk in ('vda', 'vdb') else 512}", TIMEOUT)
    test.expect(r"^8 queues", TIMEOUT)
    test.check(test.wait_end(TIMEOUT) == 0, "the guest did not end with 0")
