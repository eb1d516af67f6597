# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`: what the KVM API costs, and what requests to a disk and frames of a network cost through the driver
domain. HOST=linux runs the same programs, and QEMU, on Linux's own KVM in the same machine, with its default
mitigations."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import boot_disk
import cpio
import emulator
import linux_host
import run
import session

# Its firmware, and what starts a kernel there.
QEMU_DATA = ["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/kvmvapic.bin"]


def qemu_files():
    """QEMU with its libraries and data."""
    qemu = shutil.which("qemu-system-x86_64")
    libraries = subprocess.run(["ldd", qemu], capture_output=True, text=True, check=True).stdout
    return [qemu, *re.findall(r"(/\S+) \(0x", libraries), *QEMU_DATA]


def io_files(out, directory):
    """What the I/O bench finds beside itself: the guest's initrd has the measuring program added."""
    extra = cpio.Archive()
    extra.file_from("bin/guest_io", os.path.join(out, "tests/guest_io"))
    initrd = os.path.join(directory, "initrd.img")
    with open(os.path.join(out, "guest/initrd.img"), "rb") as source, open(initrd, "wb") as target:
        content = source.read()
        target.write(content + b"\0" * (-len(content) % 512) + extra.bytes())
    peer = qemu_files() if run.setting("HOST") == "linux" else []
    return [initrd, *peer] + [os.path.join(out, name) for name in ("guest/vmlinuz", "bin/drivers", "bin/vmm")]


def make_image(directory, kind, out, program, files):
    if run.setting("HOST") == "linux":
        return linux_host.make_image(directory, kind, out, program, files, options="")
    config = boot_disk.make_config({"program": f"/work/{os.path.basename(program)}", "args": run.setting("ARGS")})
    return boot_disk.make_image(directory, out, boot_disk.make_initrd(out, program, files, guest=False), config)


def show(data):
    os.write(1, data)


def boot(kind, out, program, files, cpus):
    """Runs PROGRAM to its end. Returns its status; of one on Linux, 0."""
    runs = os.path.abspath(os.path.join(out, "run"))
    os.makedirs(runs, exist_ok=True)
    directory = tempfile.mkdtemp(dir=runs)
    linux = run.setting("HOST") == "linux"
    try:
        machine = kind(directory, make_image(directory, kind, out, program, files(out, directory)), cpus,
                       run.number("MEMORY", 1024, 256, 1 << 20))
        machine.count_instructions()
        if linux:
            machine.firmware = machine.bios
        with session.SlotLock():
            machine.start()
            try:
                line = session.Session(machine, show, b"" if linux else session.FIRST_LINE)
                while not line.ended():
                    line.step(0.25)
                return 0 if linux else line.verdict()[0]
            finally:
                machine.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    out = run.setting("OUT", "out")
    kind = emulator.choose(run.setting("MACHINE"))
    status = boot(kind, out, os.path.join(out, "tests/bench"), lambda *_: [], 2)
    # On one CPU every instruction is on the way.
    return boot(kind, out, os.path.join(out, "tests/bench_io"), io_files, 1) or status


if __name__ == "__main__":
    sys.exit(main())
