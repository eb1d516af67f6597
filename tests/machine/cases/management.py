# SPDX-License-Identifier: BSD-2-Clause
"""The host's console and what manages it: vsh, statistics, roles, several clients on one serial port."""

import contextlib
import os
import re
import select
import socket
import struct
import subprocess
import time
import urllib.request

import boot_disk
from harness import case
from management import Management, libvirt_serial_mux

from cases.libvirt import INSTALL, Client, Daemon, Pump, connected_events, install

TIMEOUT = 300
PROMPT = r"^guest:~# "
CLIENTS = ("libvirt-clients", "python3-libvirt")
PAUSES = 10
# Disk and network at work, both with interrupts.
LOAD = ("(while :; do dd if=/dev/vda of=/dev/null bs=64k count=8 iflag=direct; arping -c 1 -I eth0 10.0.2.2; done) "
        ">/dev/null 2>&1 &")


def type_line(test, line, pattern):
    """Types slowly enough for a line editor of the guest's that looks for answers of the terminal."""
    test.send(line + "\r")
    return test.expect(pattern, TIMEOUT)


@case("vsh: the guest of make run, left and attached again", "tcg")
def vsh_on_console(test):
    test.boot(guest=True, config=boot_disk.GUEST_DEVICES)
    test.expect(PROMPT, TIMEOUT)
    type_line(test, "echo $((6*7))is", r"^42is")
    test.send("\x1d")
    test.expect(r"^vsh # ", TIMEOUT)
    type_line(test, "lisst", r"unknown command: 'lisst'")
    type_line(test, "list", r"^ 1 +guest +running")
    type_line(test, "domstate 1", r"^running")
    type_line(test, "destroy guest --now", r"^error: usage: destroy DOMAIN")
    type_line(test, "dominfo", r"^error: usage: dominfo DOMAIN")
    type_line(test, "dominfo guest", r"^CPU time: +[0-9.]*[1-9][0-9.]*s")
    type_line(test, "domstats guest", r"^  vcpu\.0\.io_exits\.sum=[1-9]")
    type_line(test, "suspend guest", r"^Domain 'guest' suspended")
    type_line(test, "resume guest", r"^Domain 'guest' resumed")
    type_line(test, "console guest", r"^42is")  # what was shown before
    type_line(test, "poweroff", r"reboot: Power down")
    test.expect(r"^vsh # ", TIMEOUT)
    type_line(test, "list", r"^ Id +Name")
    type_line(test, "list --inactive", r"^ - +guest +shut off")
    type_line(test, "start --console guest", PROMPT)
    type_line(test, "poweroff", r"reboot: Power down")
    test.expect(r"^vsh # ", TIMEOUT)
    type_line(test, "exit", r"^init: vsh exited with 0")
    test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")


@case("vsh: power-off of the attached guest ends the machine", "")
def power_off(test):
    test.boot(guest=True, config=boot_disk.GUEST_DEVICES)
    test.expect(PROMPT, TIMEOUT)
    type_line(test, "poweroff", r"^init: vsh exited with 0")
    test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")


def counters(text, kind):
    return {name: int(value) for name, value in re.findall(rf"^{kind} (\S+) (\d+)$", text, re.MULTILINE)}


def replug(test, client, element, lister):
    """What the driver domain serves goes and comes again."""
    path = os.path.join(test.directory, f"{element}.xml")
    with open(path, "w", encoding="ascii") as file:
        file.write(re.search(f"<{element} .*?</{element}>", client.virsh("dumpxml", "guest"), re.DOTALL).group())
    client.virsh("detach-device", "guest", path)
    deadline = time.monotonic() + TIMEOUT
    while client.virsh(lister, "guest").strip():
        test.check(time.monotonic() < deadline, f"the guest does not let go of its {element}")
        time.sleep(0.1)
    client.virsh("attach-device", "guest", path)


def pause_under_load(test, client):
    """Its memory is taken or given back, it stands and goes on: the console must answer each time."""
    type_line(test, LOAD, PROMPT)
    for number in range(PAUSES):
        with Pump(test):
            client.virsh("setmem", "guest", ("160M", "230M")[number % 2])
            client.virsh("suspend", "guest")
            client.virsh("resume", "guest")
        type_line(test, f"echo ali''ve{number}.", rf"^alive{number}\.")


@case("libvirt: statistics of the guest of make run, for several clients at once", "tcg")
def statistics(test):
    install(*CLIENTS)
    test.boot(guest=True, config={**boot_disk.GUEST_DEVICES, "guest.cpus": 2})
    management = Management()
    test.expect(PROMPT, TIMEOUT)
    management.start(test.emulator.management)
    client = Client(test, management.uri)
    before = {}
    type_line(test, "umount /mnt; echo away$?", "^away0")
    with Pump(test):
        replug(test, client, "interface", "domiflist")
        replug(test, client, "disk", "domblklist")
        for kind, name in (("domblkstat", "vda"), ("domifstat", "vnet0")):
            before[kind] = counters(client.virsh(kind, "guest", name), name)
    type_line(test, "until [ -e /dev/vda ] && [ -e /sys/class/net/eth0 ]; do sleep 0.1; done; "
                    "dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct; ip link set eth0 up; "
                    "arping -c 5 -I eth0 10.0.2.2; echo do''ne", "^done")
    with Pump(test):
        # One client waits for events while others come and go.
        events = connected_events(client, "guest")
        try:
            after = counters(client.virsh("domblkstat", "guest", "vda"), "vda")
            read = after["rd_bytes"] - before["domblkstat"]["rd_bytes"]
            # The kernel may have looked for partitions after the first count.
            test.check(1 << 20 <= read <= (1 << 20) * 1.1, f"{read} bytes read, not 1 MiB")
            test.check(after["rd_req"] - before["domblkstat"]["rd_req"] >= 16, "fewer than 16 requests")
            after = counters(client.virsh("domifstat", "guest", "vnet0"), "vnet0")
            test.check(after["tx_packets"] - before["domifstat"]["tx_packets"] >= 5, "fewer than 5 packets sent")
            client.expect(r"^usage:|^user:", "nodecpustats")
            client.expect(r"^total *: *[1-9]\d+ KiB", "nodememstats")
            check_metrics(test, client, management.port)
            client.virsh("suspend", "guest")
            client.virsh("resume", "guest")
            events.expect("Suspended", "Resumed")
        finally:
            events.stop()
    pause_under_load(test, client)
    with Pump(test):
        # vsh ends with the guest it is attached to, and the machine with vsh.
        subprocess.run(["virsh", "-q", "-c", client.uri, "destroy", "guest"], timeout=TIMEOUT, check=False)
    test.check(test.wait_end(TIMEOUT) == 0, "the run did not end with 0")


def fetch_metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT) as answer:
        return answer.read().decode()


def guest_times(text):
    """Seconds of each of its vCPUs, and those that the machine's CPUs have spent in guests."""
    times, busy = ([float(value) for value in re.findall(pattern, text, re.MULTILINE)] for pattern in (
        r'^ashlar_domain_vcpu_seconds_total\{domain="guest",vcpu="\d"\} (\S+)$',
        r'cpu_seconds_total\{cpu="\d+",mode="guest"\} (\S+)'))
    return times, sum(busy)


def check_metrics(test, client, port):
    text = fetch_metrics(port)
    times, busy = guest_times(text)
    shown = int(client.expect(r"vcpu\.0\.time=(\d+)", "domstats", "guest").group(1)) / 1e9
    later, busy_later = guest_times(fetch_metrics(port))
    test.check(len(times) == 2 and 0 < times[0] <= shown <= later[0], f"{times} {shown} {later}")
    # Both are counted while they move: what one says lies before what the other says later.
    for before, after in ((busy, sum(later)), (sum(times), busy_later)):
        test.check(before < 1.05 * after + 0.1, f"guest {busy} and {busy_later} s, of its vCPUs {times} and {later}")
    for pattern in (r'^ashlar_domain_vcpu_events_total\{domain="guest",vcpu="0",event="io_exits"\} [1-9]',
                    r'^ashlar_domain_block_requests_total\{domain="guest",device="vda",operation="read"\} [1-9]',
                    r"^ashlar_memory_kernel_bytes [1-9]"):
        test.check(re.search(pattern, text, re.MULTILINE), f"no {pattern} in {text}")
    tool = promtool(test)
    done = subprocess.run([tool, "check", "metrics"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    test.check(done.returncode == 0 and not done.stdout, f"promtool: {done.stdout}")


def promtool(test):
    """Debian's, out of its package, whose daemon we do not want."""
    directory = os.path.join(test.out, "promtool")
    path = os.path.join(directory, "usr/bin/promtool")
    if not os.path.exists(path):
        os.makedirs(directory, exist_ok=True)
        subprocess.run(["flock", INSTALL, "sh", "-c", "apt-get -qq -o Acquire::Retries=5 download prometheus && "
                        "dpkg-deb -x prometheus_*.deb ."], check=True, cwd=directory, stderr=subprocess.DEVNULL)
    return path


def expect_message(test, mux, line, expected):
    """The next message that MUX sends to virtd. Returns its serial number."""
    deadline = time.monotonic() + 10
    received = b""
    while len(received) < libvirt_serial_mux.HEADER.size or len(received) < struct.unpack_from(">I", received)[0]:
        mux.step(0.01)
        test.check(time.monotonic() < deadline, f"no message {expected}: {received}")
        if select.select([line], [], [], 0)[0]:
            received += line.recv(struct.unpack_from(">I", received)[0] - len(received) if len(received) > 3 else
                                  4 - len(received))
    _, _, _, procedure, kind, serial, status = libvirt_serial_mux.HEADER.unpack_from(received)
    test.check((procedure, kind, status) == expected[:3] and received.endswith(expected[3]), f"{received}, not {expected}")
    return serial


@case("mux: a client dies before virtd answers", "linux")
def orphans(test):
    """What its call has begun in virtd, an event's callback or a console, is ended."""
    wire = libvirt_serial_mux
    ours, line = socket.socketpair()
    line.setblocking(False)
    with ours, line, wire.listen_tcp("127.0.0.1", 0) as listener:
        mux = wire.Mux(line, [listener])
        for procedure, answer, expected in (
                (wire.REGISTER_EVENT, struct.pack(">I", 5), (wire.DEREGISTER_EVENT, wire.CALL, wire.OK, struct.pack(">I", 5))),
                (wire.OPEN_STREAM[0], b"", (wire.OPEN_STREAM[0], wire.STREAM, wire.ERROR, b""))):
            with socket.create_connection(listener.getsockname()) as client:
                if mux.greeted is not True:
                    for verb in (wire.AUTH_LIST, wire.OPEN):
                        expect_message(test, mux, ours, (verb, wire.CALL, wire.OK, b""))
                    ours.sendall(wire.pack(wire.OPEN, wire.REPLY, 1))
                client.sendall(wire.pack(procedure, wire.CALL, 3))
                serial = expect_message(test, mux, ours, (procedure, wire.CALL, wire.OK, b""))
            while mux.clients:
                mux.step(0.01)
            if procedure in wire.OPEN_STREAM:  # at once, which a virtd that has not begun does not heed
                expect_message(test, mux, ours, expected)
            ours.sendall(wire.pack(procedure, wire.REPLY, serial, payload=answer))
            expect_message(test, mux, ours, expected)


@case("mux: clients that are too many, and one that reads nothing", "linux")
def floods(test):
    wire = libvirt_serial_mux
    ours, line = socket.socketpair()
    line.setblocking(False)
    with ours, line, wire.listen_tcp("127.0.0.1", 0) as listener, contextlib.ExitStack() as stack:
        mux = wire.Mux(line, [listener])
        connections = []
        for _ in range(wire.CLIENTS_MAX + 10):
            connections.append(stack.enter_context(socket.create_connection(listener.getsockname())))
            mux.step(0.01)
        test.check(len(mux.clients) == wire.CLIENTS_MAX, f"{len(mux.clients)} clients")
        mux.greeted = True
        connections[0].sendall(wire.pack(wire.OPEN_STREAM[0], wire.CALL, 3))
        while not mux.calls:
            mux.step(0.01)
        reader = mux.clients[0]
        shown = wire.pack(wire.OPEN_STREAM[0], wire.STREAM, mux.serial, wire.CONTINUE, bytes(1 << 20))
        for _ in range(100):
            mux.received += shown
            mux.step(0)
        test.check(reader not in mux.clients and len(reader.output) < 2 * wire.OUTPUT_MAX, f"{len(reader.output)} bytes wait")


@case("virtd: roles of transports, and the audit log", "linux")
def roles(test):
    install(*CLIENTS)
    daemon = Daemon(test)
    client = Client(test, f"qemu+unix:///system?socket={daemon.socket}")
    try:
        client.define("demo")
    finally:
        daemon.kill()
    for role, denied in (("monitor", ("start", "define", "undefine")), ("operator", ("define", "undefine"))):
        log = os.path.join(test.directory, f"{role}.log")
        daemon.start("--socket-role", role, "--audit", log)
        try:
            client.expect("demo", "list", "--all")
            client.virsh("dumpxml", "demo")
            for verb in denied:
                what = os.path.join(test.directory, "demo.xml") if verb == "define" else "demo"
                client.expect("authentication failed|not allowed on the transport 'unix'", verb, what, status=1)
            if role == "operator":
                client.virsh("start", "demo")
                client.virsh("destroy", "demo")
        finally:
            daemon.kill()
        with open(log, encoding="ascii") as file:
            lines = file.read()
        test.check(re.search(r"^\d{4}-\d\d-\d\dT\S+Z transport=unix call=DOMAIN_DEFINE_XML domain=\S+ result=45$", lines,
                             re.MULTILINE), f"the audit log has no refusal: {lines}")
        test.check(role == "monitor" or "call=DOMAIN_CREATE domain=demo result=0" in lines, f"no start in {lines}")
