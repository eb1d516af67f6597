# SPDX-License-Identifier: BSD-2-Clause
"""`make image`: writes the disk image that boots from a USB stick."""

import os
import shutil
import sys
import tempfile

import boot_disk


def main():
    target = sys.argv[1]
    out = os.environ.get("OUT") or "out"
    config = boot_disk.make_config({
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
