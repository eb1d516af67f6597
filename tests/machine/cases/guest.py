# SPDX-License-Identifier: BSD-2-Clause
"""A boot to the shell of a Linux guest, as plain `make run` does it."""

from harness import case

TIMEOUT = 600
PROMPT = r"^guest:~# "


# Physical and virtual CPUs. Bochs is slow: fewer of them there.
BOTH = ((1, 2), (2, 2), (2, 8))
AMD_V = ((1, 1), (2, 1), (2, 4), (4, 1), (4, 4))


def add(cpus, guest_cpus, machine=""):
    @case(f"guest: Linux to its shell, and power-off; {guest_cpus} vCPUs on {cpus} CPUs", machine)
    def linux_guest(test):
        test.boot(guest=True, cpus=cpus, config={"guest.cpus": guest_cpus})
        test.expect(rf"CPUs: {cpus},", TIMEOUT, anywhere=True)
        test.expect(PROMPT, TIMEOUT)
        test.send("dmesg | grep 'Hypervisor detected'; echo nproc=`nproc`\n")
        test.expect(r"Hypervisor detected: KVM$", TIMEOUT)
        test.expect(rf"^nproc={guest_cpus}$", TIMEOUT)
        test.expect(PROMPT, TIMEOUT)
        test.send("poweroff\n")
        test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")


for pair in BOTH:
    add(*pair)
for pair in AMD_V:
    add(*pair, machine="tcg")
