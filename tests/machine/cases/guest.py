# SPDX-License-Identifier: BSD-2-Clause
"""A boot to the shell of a Linux guest, as plain `make run` does it."""

from harness import case

TIMEOUT = 600
PROMPT = r"^guest:~# "


@case("guest: Linux to its shell, and power-off")
def linux_guest(test):
    test.boot(guest=True)
    test.expect(PROMPT, TIMEOUT)
    test.send("dmesg | grep 'Hypervisor detected'; nproc\n")
    test.expect(r"Hypervisor detected: KVM$", TIMEOUT)
    test.expect(PROMPT, TIMEOUT)
    test.send("echo $((6 * 7))\n")
    test.expect(r"^42$", TIMEOUT)
    test.expect(PROMPT, TIMEOUT)
    test.send("poweroff\n")
    test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")
