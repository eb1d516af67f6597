# SPDX-License-Identifier: BSD-2-Clause
"""The driver domain on Linux, with Debian's QEMU as its front end: a peer that nobody here wrote."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import time

from harness import Failure, case

DISK_SIZE = 4 << 20
PATTERN_SIZE = 1 << 20
TIMEOUT = 240
FLUSHES = 8
# The first half is read, the second written with what was read; then writes that are synchronized, each for itself.
SCRIPT = ("dd if=/dev/vda bs=64k count=16 iflag=direct 2>/dev/null | sha256sum; "
          "dd if=/dev/vda of=/dev/vda bs=64k count=16 seek=32 oflag=direct conv=notrunc,fsync 2>/dev/null "
          "&& echo copied; for i in $(seq 8); do dd if=/dev/vda of=/dev/vda bs=4k count=1 seek=900 oflag=direct "
          "conv=notrunc,fsync 2>/dev/null || echo failed; done; cat /sys/block/vda/queue/write_cache; sync; echo finished")


def start_drivers(test, directory):
    return subprocess.Popen(
        [os.path.abspath(os.path.join(test.out, "bin/drivers")), "--disk", "socket=disk.sock,path=disk.img,num_queues=2",
         "--statistics", "statistics"],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def flushes(directory):
    """How many the driver domain has carried out."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.relpath(os.path.join(directory, "statistics")))
        with connection.makefile() as lines:
            wanted = 'drivers_disk_requests_total{disk="disk.sock",operation="flush"} '
            return int(next(line for line in lines if line.startswith(wanted)).split()[-1])


def start_qemu(test, directory, packed):
    guest = os.path.abspath(os.path.join(test.out, "guest"))
    return subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "q35,memory-backend=ram", "-accel", "tcg", "-cpu", "max", "-nodefaults",
         "-display", "none", "-m", "256", "-object", "memory-backend-memfd,id=ram,size=256M,share=on",
         "-serial", "file:guest.log", "-no-reboot", "-kernel", os.path.join(guest, "vmlinuz"),
         "-initrd", os.path.join(guest, "initrd.img"), "-chardev", "socket,id=disk,path=disk.sock,reconnect=1",
         "-device", f"vhost-user-blk-pci,chardev=disk,num-queues=2,packed={packed}",
         "-append", f'console=ttyS0 quiet cryptomgr.notests=1 tsc=reliable RUN="{SCRIPT}"'],
        cwd=directory)


def read_log(directory):
    path = os.path.join(directory, "guest.log")
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as log:
        return log.read().replace("\r", "")


def wait_for_end(qemu, directory):
    deadline = time.monotonic() + TIMEOUT
    while qemu.poll() is None:
        if time.monotonic() > deadline:
            raise Failure("QEMU's guest does not end; its last lines: " + read_log(directory)[-600:])
        time.sleep(0.2)


def add(packed):
    @case(f"the driver domain's disk under QEMU, packed rings {packed}", "linux")
    def disk_under_qemu(test):
        directory = test.directory
        pattern = random.Random(1).randbytes(PATTERN_SIZE)
        path = os.path.join(directory, "disk.img")
        with open(path, "wb") as disk:
            disk.write(pattern)
            disk.truncate(DISK_SIZE)
        drivers = start_drivers(test, directory)
        qemu = None
        try:
            drivers.stdout.readline()  # it listens
            qemu = start_qemu(test, directory, packed)
            wait_for_end(qemu, directory)
            flushed = flushes(directory)
        finally:
            for process in (qemu, drivers):
                if process and process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
        test.check(flushed >= FLUSHES + 1, f"{flushed} flushes reached the disk")
        log = read_log(directory)
        for line in (hashlib.sha256(pattern).hexdigest(), "copied", "write back", "finished"):
            test.check(line in log, f"'{line}' is not in the guest's log: {log[-600:]}")
        with open(path, "rb") as disk:
            disk.seek(PATTERN_SIZE * 2)
            test.check(disk.read(PATTERN_SIZE) == pattern, "the image does not hold what the guest wrote")


add("off")
add("on")
