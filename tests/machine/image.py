# SPDX-License-Identifier: BSD-2-Clause
"""`make image`: writes the disk image that boots from a USB stick."""

import os
import shutil
import sys
import tempfile

import boot_disk

# The machine's network is the guest's, too. Of its disks none is written to before somebody has named it.
HEAD = """\
# The guest has the machine's first network interface. It has a disk with these lines instead, which name a partition;
# the log lists whole disks, which are named device=...,unit=... or serial=...
#   drivers = --disk socket=/run/drivers/disk,partition=LABEL --nic switch=lan --net socket=/run/drivers/net,switch=lan
#   guest.devices = --disk vhost_user=true,socket=/run/drivers/disk --net vhost_user=true,socket=/run/drivers/net
# On a machine without an IOMMU devices reach all memory, which this allows:
#   dma = trusted
"""
DEVICES = {"drivers": "--list --nic switch=lan --net socket=/run/drivers/net,switch=lan",
           "guest.devices": "--net vhost_user=true,socket=/run/drivers/net --rng src=/dev/urandom"}


def main():
    target = sys.argv[1]
    out = os.environ.get("OUT") or "out"
    config = HEAD + boot_disk.make_config({
        **DEVICES,
        "guest.cpus": os.environ.get("GUEST_CPUS"),
        "guest.memory": os.environ.get("GUEST_MEMORY"),
        "guest.cmdline": os.environ.get("GUEST_CMDLINE"),
        "autostart": "yes",
    })
    with tempfile.TemporaryDirectory(dir=out) as directory:
        image = boot_disk.make_image(directory, out, boot_disk.make_initrd(out), config)
        shutil.move(image, target)
    print(f"{target}: {os.path.getsize(target) >> 20} MiB")


if __name__ == "__main__":
    main()
