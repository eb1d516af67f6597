# SPDX-License-Identifier: BSD-2-Clause
"""A boot to the shell of a Linux guest, as plain `make run` does it."""

import os
import subprocess
import sys

import boot_disk
import disk
import run
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
rm /data; udhcpc -q -n -t 20 -i eth0; dmesg | grep '[I]/O error, dev'" """.strip()


@case("guest: its root is on the machine's disk, served by the driver domain")
def disk_root(test):
    test.boot(guest=True, config={**boot_disk.GUEST_DEVICES, "guest.cmdline": ON_ITS_DISK})
    for line in (r"^/dev/root / ext4 rw|^/dev/vda / ext4 rw", r"^the same$", r"lease of 10\.0\.2\.\d+ obtained"):
        test.expect(line, TIMEOUT)
    test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")
    test.check(b"I/O error, dev" not in test.session.log, "the guest saw an I/O error")


COPIES = """console=ttyS0 quiet ROOT=LABEL=mine RUN="cat /question >/answer; sync" """.strip()


@case("guest: GUEST_DISK of make run is its disk", "tcg")
def image_of_the_user(test):
    root = os.path.join(test.directory, "root")
    image = os.path.join(test.directory, "mine.img")
    os.mkdir(root)
    subprocess.run(["cp", "-a", os.path.join(test.out, "guest/root/."), root], check=True)
    with open(os.path.join(root, "question"), "w") as file:
        file.write("who is there?")
    with open(image, "wb") as file:
        file.truncate(64 * disk.GEOMETRY)
    subprocess.run([disk.MKE2FS, "-q", "-t", "ext4", "-L", "mine", "-d", root, image], check=True)
    settings = {"PATH": os.environ["PATH"], "OUT": test.out, "MACHINE": test.machine_name, "TIMEOUT": str(TIMEOUT),
                "GUEST_DISK": image, "GUEST_CMDLINE": COPIES}
    done = subprocess.run([sys.executable, run.__file__], env=settings, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    answer = subprocess.run(["/usr/sbin/debugfs", "-R", "cat /answer", image], capture_output=True, text=True, check=True)
    test.check(answer.stdout == "who is there?", f"the guest did not write it, make run said: {done.stdout[-2000:]}")
