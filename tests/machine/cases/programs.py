# SPDX-License-Identifier: BSD-2-Clause
"""Our test programs (tests/programs) and Linux's KVM selftests (tests/selftests) as PROGRAM."""

import os

import emulator
from harness import case

TIMEOUT = 900
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.path.join(HERE, "../../programs")
# Linux's selftests that need a second or two, all in one boot (tests/selftests/suite.c).
SELFTESTS = ("cpuid_test", "cr4_cpuid_sync_test", "get_msr_index_features", "kvm_binary_stats_test", "kvm_clock_test",
             "kvm_pv_test", "max_vcpuid_cap_test", "monitor_mwait_test", "platform_info_test", "set_boot_cpu_id",
             "set_sregs_test", "smm_test", "state_test", "sync_regs_test", "tsc_msrs_test", "ucna_injection_test",
             "userspace_io_test", "userspace_msr_exit_test")
SELFTEST_LIMIT = 120  # seconds of the machine's clock for each
# Files a program finds in its working directory, below the build directory.
FILES = {"network": ("guest/vmlinuz", "guest/initrd.img"),
         "linuxpair": ("guest/vmlinuz", "guest/initrd.img"),
         "driverdomain": ("guest/vmlinuz", "guest/initrd.img"),
         "virtd_restart": ("guest/vmlinuz", "guest/initrd.img"),
         "vmm_api": ("guest/vmlinuz", "guest/initrd.img")}
# More lines of ashlar.conf.
CONFIG = {"restart": {"drivers": "--disk socket=/run/drivers/disk,path=/work/disk.img"}}
# QEMU 7.2 itself ends with a segmentation fault under this one now and then.
ONLY_VT_X = ("fuzz_kvm",)

# Machines with the devices that a program drives; the best one otherwise.
MACHINES = {"vfio": ("devices", "bochs", "vtd", "amdvi")}
# What a program is told, by its machine: the devices that must be there.
ARGUMENTS = {("vfio", "bochs"): "e1000", **{("vfio", name): "edu nvme rng" for name in ("devices", "vtd", "amdvi")}}
# Those that need another machine have cases of their own.
ELSEWHERE = ("cores", "disks")
# They begin first, so that none of them runs alone at the end.
LONGEST = ("vmm_api", "driverdomain", "network", "slots", "exhaust")


def add(program, machine):
    name = f"program: {program}" + (f", {machine}" if program in MACHINES else "")

    @case(name, emulator.with_vmx() if program in ONLY_VT_X else machine)
    def run(test):
        files = [os.path.join(test.out, name) for name in FILES.get(program, ())]
        test.boot(program=os.path.join(test.out, "tests", program), args=ARGUMENTS.get((program, machine), ""), files=files,
                  config=CONFIG.get(program))
        status = test.wait_end(TIMEOUT)
        test.check(status == 0, f"{program} exited with {status}")


def begins(program):
    return program not in LONGEST, program


SOURCES = os.listdir(PROGRAMS) if os.path.isdir(PROGRAMS) else []
for each in sorted((source[:-2] for source in SOURCES if source.endswith(".c")), key=begins):
    for name in MACHINES.get(each, ("",)) if each not in ELSEWHERE else ():
        add(each, name)


@case("Linux selftests")
def selftests(test):
    args = " ".join([str(SELFTEST_LIMIT)] + [f"./{name}" for name in SELFTESTS])
    files = [os.path.join(test.out, "selftests", name) for name in SELFTESTS]
    test.boot(program=os.path.join(test.out, "tests/suite"), args=args, files=files)
    test.expect(rf"^{len(SELFTESTS)} pass, 0 skip, 0 fail, 0 time-out", TIMEOUT)
    test.check(test.wait_end(TIMEOUT) == 0, "the suite did not end with 0")
