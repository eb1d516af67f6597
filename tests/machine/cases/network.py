# SPDX-License-Identifier: BSD-2-Clause
"""The driver domain's network: its switch on Linux between two of Debian's QEMUs, peers that nobody here wrote, and its
drivers on Ashlar, below a guest that talks to a server on this host."""

import base64
import contextlib
import hashlib
import http.server
import os
import random
import signal
import subprocess
import threading
import time

import emulator
from harness import Failure, case

TIMEOUT = 240
# Two guests: each has an address, waits for the other, and says what it saw.
PING = ("me={me}; other={other}; ip link set eth0 mtu 9000 up; modprobe 8021q; "
        "ip link add link eth0 name eth0.5 type vlan id 5; ip address add 10.0.5.$me/24 dev eth0.5; "
        "ip link set eth0.5 up; ip address add 10.0.0.$me/24 dev eth0; "  # who answers there has all of it
        "until ping -c 1 -W 1 10.0.0.$other >/dev/null; do :; done; "
        "ping -q -c 5 10.0.0.$other | grep -c ' 0% packet loss' | sed 's/^/ping: /'; "
        "ping -q -c 3 -s 7950 10.0.0.$other | grep -c ' 0% packet loss' | sed 's/^/large: /'; "
        "ping -q -c 3 10.0.5.$other | grep -c ' 0% packet loss' | sed 's/^/vlan: /'; ")
# One megabyte by TCP; the receiver's standard input stays open.
SEND = ("head -c 1048576 /dev/urandom >/tmp/sent; sha256sum </tmp/sent; "
        "until nc 10.0.0.2 7 </tmp/sent; do sleep 1; done")
RECEIVE = "mkfifo /tmp/hold; sleep 1000 >/tmp/hold & nc -l -p 7 </tmp/hold >/tmp/got; sha256sum </tmp/got"
PACKED = "cut -c 35 /sys/bus/virtio/devices/virtio0/features | sed 's/^/packed: /'; "  # VIRTIO_F_RING_PACKED
QUIET = "console=ttyS0 quiet cryptomgr.notests=1 tsc=reliable"


def start_drivers(test, *ports):
    process = subprocess.Popen(
        [os.path.abspath(os.path.join(test.out, "bin/drivers")), *(word for port in ports for word in ("--net", port))],
        cwd=test.directory, stdout=subprocess.PIPE)
    process.stdout.readline()  # it listens
    return process


def start_guest(test, number, script, pairs=1, packed="off"):
    """Without MSI-X: QEMU 7.2 masks its vectors through an irqfd that TCG does not have, and dies."""
    guest = os.path.abspath(os.path.join(test.out, "guest"))
    return subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "q35,memory-backend=ram", "-accel", "tcg", "-cpu", "max", "-nodefaults",
         "-display", "none", "-m", "192", "-smp", str(pairs), "-object", "memory-backend-memfd,id=ram,size=192M,share=on",
         "-serial", f"file:guest{number}.log", "-no-reboot", "-kernel", os.path.join(guest, "vmlinuz"),
         "-initrd", os.path.join(guest, "initrd.img"), "-chardev", f"socket,id=net,path=net{number}.sock,reconnect=1",
         "-netdev", f"vhost-user,id=net,chardev=net,queues={pairs}",
         "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:00:00:0{number},mq=on,packed={packed},vectors=0,romfile=", "-append", f'{QUIET} RUN="{script}"'], cwd=test.directory)


def read_log(test, number):
    path = os.path.join(test.directory, f"guest{number}.log")
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as log:
        return log.read().replace("\r", "")


def wait_for_guests(test, guests):
    deadline = time.monotonic() + TIMEOUT
    while any(guest.poll() is None for guest in guests):
        if time.monotonic() > deadline:
            raise Failure("a guest does not end: " + " | ".join(read_log(test, number)[-400:] for number in (1, 2)))
        time.sleep(0.2)


def check_ping(test, logs):
    for log in logs:
        for line in ("ping: 1", "large: 1", "vlan: 1"):
            test.check(line in log, f"'{line}' is not in a guest's log: {log[-600:]}")


@case("the driver domain's switch between two QEMUs", "linux")
def switch_between_qemus(test):
    processes = [start_drivers(test, "socket=net1.sock,switch=lan,mac=52:54:00:00:00:01,num_queues=4",
                               "socket=net2.sock,switch=lan")]
    try:
        guests = [start_guest(test, 1, PING.format(me=1, other=2) + SEND, pairs=2),
                  start_guest(test, 2, PING.format(me=2, other=1) + PACKED + RECEIVE, packed="on")]
        processes += guests
        wait_for_guests(test, guests)
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
    logs = [read_log(test, number) for number in (1, 2)]
    check_ping(test, logs)
    test.check("packed: 1" in logs[1], "the second guest's rings are not packed")
    digests = [[word for word in log.split() if len(word) == 64] for log in logs]
    test.check(digests[0] and digests[0] == digests[1], f"one guest sent {digests[0]}, the other received {digests[1]}")


FILE = random.Random(2).randbytes(1 << 20)


class Handler(http.server.BaseHTTPRequestHandler):
    """FILE, whatever is asked for; the digest of what is posted."""

    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.answer(FILE)

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(f"sent {hashlib.sha256(content).hexdigest()}\n".encode())

    def log_message(self, *_):  # the test says what matters
        pass


@contextlib.contextmanager
def web_server():
    """Yields the port of a server that emulators' user networks reach as their host."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def fetch_by_each(test, nics):
    """A guest with an interface for each of NICS, {network: address}, fetches FILE by each of them and sends it back
    as text: busybox's wget posts no zeros."""
    drivers = " ".join(f"--nic switch=n{network},device={address} --net socket=/run/drivers/n{network},switch=n{network}"
                       for network, address in nics.items())
    devices = " ".join(f"--net vhost_user=true,socket=/run/drivers/n{network}" for network in nics)
    with web_server() as port:
        script = "; ".join(
            f"udhcpc -n -q -t 20 -i eth{number} && wget -q -O /tmp/f http://10.0.{network}.2:{port}/ && "
            f"sha256sum /tmp/f && base64 /tmp/f >/tmp/g && wget -q -O - --post-file=/tmp/g http://10.0.{network}.2:{port}/"
            for number, network in enumerate(nics))
        test.boot(guest=True, config={"drivers": drivers, "guest.devices": devices,
                                      "guest.cmdline": f'{QUIET} nokaslr mitigations=off RUN="{script}"'})
        for network in nics:
            test.expect(rf"lease of 10\.0\.{network}\.\d+ obtained")
            test.expect(rf"^{hashlib.sha256(FILE).hexdigest()}  /tmp/f")
            test.expect(rf"^sent {hashlib.sha256(base64.encodebytes(FILE)).hexdigest()}")
        test.check(test.wait_end() == 0, "the run did not end with 0")


def add(name, machine, nics):
    @case(f"a guest's network through {name}", machine)
    def fetch(test):
        fetch_by_each(test, nics)


NICS = {network: address for network, (address, _) in emulator.WithNics.NICS.items()}
add("e1000, Bochs", "bochs", {2: "0000:00:02.0"})
add("e1000e, virtio-net and e1000 behind VT-d", "nics-vtd", NICS)
add("e1000e, virtio-net and e1000 behind AMD-Vi", "nics-amdvi", NICS)
