# SPDX-License-Identifier: BSD-2-Clause
"""A boot to the shell of a Linux guest, as plain `make run` does it."""

import boot_disk
from harness import case

TIMEOUT = 600
PROMPT = r"^guest:~# "


# Physical and virtual CPUs. Bochs is slow: fewer of them there.
BOTH = ((1, 2), (2, 2), (2, 8))
AMD_V = ((1, 1), (2, 1), (2, 4), (4, 1), (4, 4))


def add(cpus, guest_cpus, machine=""):
    @case(f"guest: Linux to its shell, and power-off; {guest_cpus} vCPUs on {cpus} CPUs", machine)
    def linux_guest(test):
        test.boot(guest=True, cpus=cpus, config={"guest.cpus": guest_cpus, **boot_disk.GUEST_DEVICES})
        test.expect(rf"CPUs: {cpus},", TIMEOUT, anywhere=True)
        test.expect(PROMPT, TIMEOUT)
        test.send("dmesg | grep 'Hypervisor detected'; grep /mnt /proc/mounts; echo nproc=`nproc`\n")
        test.expect(r"Hypervisor detected: KVM$", TIMEOUT)
        test.expect(r"^/dev/vda /mnt ext4 rw", TIMEOUT)
        test.expect(rf"^nproc={guest_cpus}$", TIMEOUT)
        test.expect(PROMPT, TIMEOUT)
        test.send("poweroff\n")
        test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")


for pair in BOTH:
    add(*pair)
for pair in AMD_V:
    add(*pair, machine="tcg")


# Written through the cache, then read from the disk.
ON_ITS_DISK = """console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable \
initcall_blacklist=load_system_certificate_list,init_kprobe_trace ROOT=LABEL=guest \
RUN="grep ' / ' /proc/mounts; head -c 2097152 /dev/urandom >/data; sha256sum </data >/tmp/a; sync; \
echo 3 >/proc/sys/vm/drop_caches; sha256sum </data >/tmp/b; cmp /tmp/a /tmp/b && echo the same; \
rm /data; udhcpc -q -n -i eth0; dmesg | grep '[I]/O error, dev'" """.strip()


@case("guest: its root is on the machine's disk, served by the driver domain")
def disk_root(test):
    test.boot(guest=True, config={**boot_disk.GUEST_DEVICES, "guest.cmdline": ON_ITS_DISK})
    for line in (r"^/dev/root / ext4 rw|^/dev/vda / ext4 rw", r"^the same$", r"lease of 10\.0\.2\.\d+ obtained"):
        test.expect(line, TIMEOUT)
    test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")
    test.check(b"I/O error, dev" not in test.session.log, "the guest saw an I/O error")
