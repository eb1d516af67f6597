# SPDX-License-Identifier: BSD-2-Clause
"""Bad files and bad machines: one message that names the file and the reason, then back to the firmware."""

import os

import boot_disk
import cpio
from harness import BOOT, case

LOADER_TIMEOUT = BOOT
# OVMF's boot manager says this when a loader has returned with an error.
BACK_IN_FIRMWARE = r"BdsDxe: failed to start Boot"


def refused(test, pattern, **boot):
    boot.setdefault("memory", 256)
    boot.setdefault("initrd", tiny_initrd())
    test.boot(**boot)
    test.expect(r"^Ashlar loader: " + pattern, LOADER_TIMEOUT)
    test.expect(BACK_IN_FIRMWARE, LOADER_TIMEOUT)


def tiny_initrd():
    archive = cpio.Archive()
    archive.file("etc/motd", b"hello\n")
    return archive.bytes()


def kernel(test):
    with open(os.path.join(test.out, "kernel.elf"), "rb") as source:
        return source.read()


@case("loader: no kernel", "tcg")
def no_kernel(test):
    refused(test, r"\\ashlar\\kernel\.elf: no such file", replace={boot_disk.KERNEL: None})


@case("loader: no initrd", "tcg")
def no_initrd(test):
    refused(test, r"\\ashlar\\initrd\.cpio: no such file", replace={boot_disk.INITRD: None})


@case("loader: no configuration", "tcg")
def no_configuration(test):
    refused(test, r"\\ashlar\\ashlar\.conf: no such file", replace={boot_disk.CONFIG: None})


@case("loader: kernel is no ELF file", "tcg")
def kernel_no_elf(test):
    refused(test, r"\\ashlar\\kernel\.elf: not an ELF file",
            replace={boot_disk.KERNEL: b"#!/bin/sh\nexit 0\n" * 100})


@case("loader: kernel is a 32-bit ELF file", "tcg")
def kernel_32_bit(test):
    content = bytearray(kernel(test))
    content[4] = 1
    refused(test, r"\\ashlar\\kernel\.elf: not a 64-bit ELF file",
            replace={boot_disk.KERNEL: bytes(content)})


@case("loader: truncated kernel", "tcg")
def kernel_truncated(test):
    content = kernel(test)
    refused(test, r"\\ashlar\\kernel\.elf: truncated",
            replace={boot_disk.KERNEL: content[:len(content) * 2 // 3]})


@case("loader: empty kernel", "tcg")
def kernel_empty(test):
    refused(test, r"\\ashlar\\kernel\.elf: too short", replace={boot_disk.KERNEL: b""})


@case("loader: damaged initrd", "tcg")
def initrd_damaged(test):
    content = bytearray(tiny_initrd())
    content[content.index(b"070701", 6)] = ord("x")
    refused(test, r"\\ashlar\\initrd\.cpio: at byte \d+: damaged", initrd=bytes(content))


@case("loader: truncated initrd", "tcg")
def initrd_truncated(test):
    content = tiny_initrd()
    refused(test, r"\\ashlar\\initrd\.cpio: at byte \d+: truncated",
            initrd=content[:content.index(b"TRAILER!!!") - 110])


@case("loader: unknown configuration key", "tcg")
def unknown_key(test):
    refused(test, r'\\ashlar\\ashlar\.conf: line 3: unknown key: "colour"',
            config="# a comment\ncpus = 1\ncolour = blue\n")


@case("loader: bad configuration value", "tcg")
def bad_value(test):
    refused(test, r'\\ashlar\\ashlar\.conf: line 1: number too large: "1000"',
            config="cpus = 1000\n")


@case("loader: too little memory", "tcg")
def too_little_memory(test):
    archive = cpio.Archive()
    archive.file("big", b"\0" * (120 << 20))
    refused(test, r".*too little memory", memory=128, initrd=archive.bytes())


@case("kernel: neither VT-x nor AMD-V", "bare")
def no_virtualization(test):
    test.boot(memory=256)
    test.expect(r"VT-x, AMD-V: not offered by this processor", LOADER_TIMEOUT)
