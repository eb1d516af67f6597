# SPDX-License-Identifier: BSD-2-Clause
"""Debian's kernel with its KVM as the host, in the machines of ours: the reference for what we do."""

import os

import cpio
import disk
import emulator

COMMAND_LINE = ("console=ttyS0 quiet tsc=reliable no5lvl nokaslr cryptomgr.notests=1 panic=-1"
                " initcall_blacklist=load_system_certificate_list,init_kprobe_trace")
# Linux hangs with FSRM there, and does without XSAVE where it finds the size of compacted state wrong; CPUID claims
# another frequency.
IN_BOCHS = f" clearcpuid=fsrm,pku,xsavec,xsaves tsc_early_khz={emulator.Bochs.ips // 1000}"


def make_image(directory, kind, out, program, files, words=(), options="mitigations=off"):
    """Writes DIRECTORY/disk.img: Debian's kernel, its KVM as modules, PROGRAM as the first process, which finds FILES and
    WORDS, a line each in the file `words`, beside itself. For the BIOS: OVMF in Bochs has no ACPI tables, without which
    Linux finds one CPU. Returns the path."""
    host = os.path.join(out, "linux-host")
    archive = cpio.Archive()
    modules = [os.path.join(host, name) for name in sorted(os.listdir(host)) if name.endswith(".ko")]
    for source in [program, *modules, *files]:
        archive.file_from(f"work/{os.path.basename(source)}", source)
    archive.file("work/words", "\n".join(words).encode())
    command_line = (f"rdinit=/work/{os.path.basename(program)} {options} {COMMAND_LINE}"
                    + (IN_BOCHS if kind is emulator.Bochs else ""))
    parts = {"initrd": archive.bytes(),
             "syslinux.cfg": f"default a\nlabel a\nlinux vmlinuz\ninitrd initrd\nappend {command_line}\n".encode()}
    for name, content in parts.items():
        with open(os.path.join(directory, name), "wb") as target:
            target.write(content)
    image = os.path.join(directory, "disk.img")
    disk.make_for_bios(image, {"vmlinuz": os.path.join(host, "vmlinuz"),
                               **{name: os.path.join(directory, name) for name in parts}})
    return image
