# SPDX-License-Identifier: BSD-2-Clause
"""What Ashlar boots from: initrd, ashlar.conf and the disk image with them, the loader and the kernel."""

import os

import cpio
import disk

LOADER = "EFI/BOOT/BOOTX64.EFI"
KERNEL = "ashlar/kernel.elf"
INITRD = "ashlar/initrd.cpio"
CONFIG = "ashlar/ashlar.conf"


def guest_devices(which):
    """What the demonstration guest is given, as settings: the disk that WHICH names to drivers, and the machine's network."""
    return {
        "drivers": f"--disk socket=/run/drivers/disk,{which} --nic switch=lan --net socket=/run/drivers/net,switch=lan",
        "guest.devices": "--disk vhost_user=true,socket=/run/drivers/disk --net vhost_user=true,socket=/run/drivers/net "
                         "--console null --rng src=/dev/urandom",
    }


# With the partition that make_image writes for it.
GUEST_DEVICES = guest_devices("partition=guest")


def make_initrd(out, program=None, files=(), guest=True):
    """init as /init, the other programs under /bin, the guest's image under /guest, PROGRAM and FILES under /work."""
    archive = cpio.Archive()
    binaries = os.path.join(out, "bin")
    for name in sorted(os.listdir(binaries)) if os.path.isdir(binaries) else []:
        archive.file_from("init" if name == "init" else f"bin/{name}",
                          os.path.join(binaries, name))
    if guest:
        for name in ("vmlinuz", "initrd.img"):
            source = os.path.join(out, "guest", name)
            if os.path.exists(source):
                archive.file_from(f"guest/{name}", source)
    archive.directory("work")
    for source in ([program] if program else []) + list(files):
        archive.tree_from(f"work/{os.path.basename(os.path.normpath(source))}", source)
    return archive.bytes()


def make_config(settings):
    """The text of ashlar.conf for {key: value}; keys whose value is None or empty are left out."""
    lines = []
    for key, value in settings.items():
        if value in (None, ""):
            continue
        if "\n" in str(value):
            raise ValueError(f"{key}: a value has one line")
        lines.append(f"{key} = {value}\n")
    return "".join(lines)


def make_image(directory, out, initrd, config, replace=None, guest=None):
    """Writes DIRECTORY/disk.img and returns its path. REPLACE overrides files of the volume: {path on the volume: bytes,
    or None to leave the file out}. GUEST is a directory, what the partition of that name holds."""
    content = {INITRD: initrd, CONFIG: config.encode()}
    content.update(replace or {})
    files = {LOADER: os.path.join(out, "BOOTX64.EFI"), KERNEL: os.path.join(out, "kernel.elf")}
    for name, data in content.items():
        files.pop(name, None)
        if data is None:
            continue
        files[name] = os.path.join(directory, os.path.basename(name))
        with open(files[name], "wb") as target:
            target.write(data)
    image = os.path.join(directory, "disk.img")
    disk.make(image, files, guest)
    return image
