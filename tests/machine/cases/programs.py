# SPDX-License-Identifier: BSD-2-Clause
"""Our test programs (tests/programs) and Linux's KVM selftests (tests/selftests) as PROGRAM."""

import os

from harness import case

TIMEOUT = 600
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "../../programs")
SELFTESTS = ("cpuid_test", "set_sregs_test", "userspace_io_test", "cr4_cpuid_sync_test",
             "sync_regs_test")
# Files a program finds in its working directory, below the build directory.
FILES = {"linuxpair": ("guest/vmlinuz", "guest/initrd.img")}


def add(name, directory, program):
    @case(f"{name}: {program}")
    def run(test):
        files = [os.path.join(test.out, name) for name in FILES.get(program, ())]
        test.boot(program=os.path.join(test.out, directory, program), files=files)
        status = test.wait_end(TIMEOUT)
        test.check(status == 0, f"{program} exited with {status}")


for source in sorted(os.listdir(PROGRAMS)) if os.path.isdir(PROGRAMS) else []:
    if source.endswith(".c"):
        add("program", "tests", source[:-2])
for selftest in SELFTESTS:
    add("Linux selftest", "selftests", selftest)
