# SPDX-License-Identifier: BSD-2-Clause
"""virtd with Debian's unmodified clients of libvirt: on Linux with a stand-in for vmm, and on Ashlar through COM2."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
import zlib

from harness import Failure, case
from management import Management

HERE = os.path.dirname(os.path.abspath(__file__))
MONITOR = os.path.join(HERE, "../fake_monitor.py")
INSTALL = os.path.join(HERE, "../install-packages.sh")
PYTHON = "/usr/bin/python3"  # Debian's, which has python3-libvirt
COMMAND_TIMEOUT = 240  # seconds; only what hangs takes that long
CMDLINE = ("console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "
           "initcall_blacklist=load_system_certificate_list,init_kprobe_trace")

TUTORIAL = """
import sys
import libvirt
conn = libvirt.open(sys.argv[1])
for domain in conn.listAllDomains(0):
    print(domain.name(), domain.state())
"""


def definition(name, extra="", devices="", memory=128, kernel="/guest/vmlinuz"):
    return (f"<domain type='kvm'>\n  <name>{name}</name>\n  <memory unit='MiB'>{memory}</memory>\n  <vcpu>2</vcpu>\n"
            f"  <os>\n    <type>hvm</type>\n    <kernel>{kernel}</kernel>\n    <initrd>/guest/initrd.img</initrd>\n"
            f"    <cmdline>{CMDLINE}</cmdline>\n  </os>\n{extra}  <devices>\n    <console type='pty'/>\n{devices}"
            "  </devices>\n</domain>\n")


def install(*packages):
    subprocess.run([INSTALL, *packages], check=True)


class Client:
    """Commands of virsh and others at one address."""

    def __init__(self, test, uri):
        self.test = test
        self.uri = uri

    def run(self, *command, status=0, text=None):
        done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=COMMAND_TIMEOUT, cwd=self.test.directory, check=False,
                              env=dict(os.environ, LC_ALL="C", HOME=self.test.directory))
        shown = " ".join(command)
        self.test.check(done.returncode == status, f"{shown}: status {done.returncode}: {done.stdout}")
        return done.stdout

    def virsh(self, *words, status=0):
        return self.run("virsh", "-q", "-c", self.uri, *words, status=status)

    def expect(self, pattern, *words, status=0):
        output = self.virsh(*words, status=status)
        found = re.search(pattern, output, re.MULTILINE)
        self.test.check(found, f"virsh {' '.join(words)}: no /{pattern}/ in: {output}")
        return found

    def wait_for(self, pattern, *words, seconds=COMMAND_TIMEOUT):
        """As expect, but it may come later."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.virsh(*words), re.MULTILINE):
            if time.monotonic() > deadline:
                return self.expect(pattern, *words)
            time.sleep(0.2)
        return None

    def wait_for_state(self, name, state, seconds=COMMAND_TIMEOUT):
        deadline = time.monotonic() + seconds
        while True:
            now = self.virsh("domstate", name).strip()
            if now == state:
                return
            self.test.check(time.monotonic() < deadline, f"{name} is {now}, not {state}")
            time.sleep(0.1)

    def define(self, name, **parts):
        path = os.path.join(self.test.directory, name + ".xml")
        with open(path, "w", encoding="ascii") as file:
            file.write(definition(name, **parts))
        return self.virsh("define", path)

    def edit(self, name, expression):
        """virsh edit, with sed as the editor."""
        return self.run("env", f"EDITOR=sed -i {expression}", "virsh", "-q", "-c", self.uri, "edit", name)


class Events:
    """`virsh event --all` in the background."""

    def __init__(self, client):
        self.client = client
        self.path = os.path.join(client.test.directory, "events")
        with open(self.path, "wb") as log:
            # A terminal would make it line-buffered; stdbuf does.
            self.process = subprocess.Popen(
                ["stdbuf", "-oL", "virsh", "-q", "-c", client.uri, "event", "--all", "--loop"],
                stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C"))

    def expect(self, *names):
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while True:
            with open(self.path, encoding="ascii") as log:
                text = log.read()
            at = 0
            for name in names:  # in this order
                at = text.find(name, at) + 1
                if not at:
                    break
            if at:
                return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise Failure(f"events {names} did not come: {text}")
            time.sleep(0.1)

    def stop(self):
        self.process.kill()
        self.process.wait()


def connected_events(client, domain):
    """Events, once they come."""
    events = Events(client)
    deadline = time.monotonic() + COMMAND_TIMEOUT
    while "balloon-change" not in open(events.path, encoding="ascii").read():
        if time.monotonic() > deadline:
            raise Failure("no event comes")
        client.virsh("setmem", domain, "120M")
        time.sleep(0.2)
    return events


# --- on Linux ---------------------------------------------------------------------------------------------------------

class Daemon:
    """virtd on this host, in the test's directory."""

    def __init__(self, test):
        self.test = test
        self.directory = tempfile.mkdtemp()  # a socket's path is short
        self.socket = os.path.join(self.directory, "s")
        self.process = None
        self.start()

    def start(self, *arguments):
        path = os.path.abspath(os.path.join(self.test.out, "bin/virtd"))
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with open(os.path.join(self.test.directory, "virtd.log"), "ab") as log:
            self.process = subprocess.Popen(
                [path, "--socket", self.socket, "--vmm", os.path.realpath(MONITOR), "--state", "state", "--run",
                 os.path.join(self.directory, "run"), *arguments], cwd=self.test.directory, stderr=log)
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while not self._listens():
            self.test.check(time.monotonic() < deadline and self.process.poll() is None, "virtd does not listen")
            time.sleep(0.02)

    def _listens(self):
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(self.socket) == 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def hold_monitors(self):
        """Stops them, as a busy host does, and has them go on a second later."""
        pids = []
        for path in self._monitors():
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                pids += struct.unpack("i8x", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        threading.Timer(1, lambda: [os.kill(pid, signal.SIGCONT) for pid in pids]).start()

    def _monitors(self):
        run = os.path.join(self.directory, "run")
        return [os.path.join(run, name) for name in os.listdir(run) if name.endswith(".sock")]

    def ask_monitor(self, line):
        """A request to the one monitor that runs."""
        path, = self._monitors()
        subprocess.run([PYTHON, "-c", "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
                                      "s.sendall(sys.argv[2].encode() + b'\\n'); s.recv(100)",
                        path, line], check=True)


def with_daemon(body):
    def run(test):
        install("libvirt-clients", "python3-libvirt", "virtinst", "coreutils")
        daemon = Daemon(test)
        client = Client(test, f"qemu+unix:///system?socket={daemon.socket}")
        try:
            body(test, daemon, client)
        finally:
            if daemon.process.poll() is None:
                for name in client.virsh("list", "--name").split():
                    client.virsh("destroy", name)
            daemon.kill()
            shutil.rmtree(daemon.directory)

    return run


@case("virtd: it is killed and finds its domains again", "linux")
@with_daemon
def restart(test, daemon, client):
    for name in ("runs", "paused", "off"):
        client.define(name)
    client.virsh("start", "runs")
    client.virsh("start", "--paused", "paused")
    client.virsh("autostart", "off")
    before = client.virsh("list", "--all"), client.virsh("dumpxml", "runs")
    for number in range(3):
        daemon.kill()
        if number == 0:
            daemon.hold_monitors()
        daemon.start()
        test.check((client.virsh("list", "--all"), client.virsh("dumpxml", "runs")) == before,
                   "the domains are not what they were")
    client.expect(r"^Autostart: +enable$", "dominfo", "off")  # and it was not started anew
    client.virsh("suspend", "runs")
    client.virsh("resume", "paused")
    client.expect("^paused", "domstate", "runs")
    client.virsh("destroy", "--graceful", "runs")
    client.expect("shut off", "domstate", "runs")
    # One whose monitor has ended while no virtd was there.
    daemon.kill()
    daemon.ask_monitor("kill")
    daemon.start()
    client.wait_for_state("paused", "shut off")


@case("virtd: policies of a domain that ends", "linux")
@with_daemon
def policies(test, daemon, client):
    rows = (  # policy, how it ends, state and reason then
        ("", "end powered-off", "shut off (shutdown)"),
        ("<on_poweroff>restart</on_poweroff>", "end powered-off", "running (booted)"),
        ("", "end crashed", "shut off (crashed)"),
        ("", "die", "shut off (crashed)"),
        ("<on_crash>restart</on_crash>", "die", "running (booted)"),
        ("", "reset", "running (booted)"),
        ("<on_reboot>destroy</on_reboot>", "reset", "shut off (shutdown)"),
        ("", "kill", "shut off (destroyed)"),
    )
    events = None
    try:
        for number, (policy, end, state) in enumerate(rows):
            name = f"d{number}"
            client.define(name, extra=policy)
            client.virsh("start", name)
            events = events or connected_events(client, name)
            test.check(client.virsh("vcpuinfo", name), "no vCPUs")
            daemon.ask_monitor(end)
            if state.startswith("running"):  # as before: wait for what came between
                events.expect(f"'reboot' for domain '{name}'")
            deadline = time.monotonic() + COMMAND_TIMEOUT
            while (now := client.virsh("domstate", "--reason", name).strip()) != state:
                test.check(time.monotonic() < deadline, f"{policy} {end}: {now}")
                time.sleep(0.05)
            if state.startswith("running"):
                client.virsh("destroy", name)
            client.virsh("undefine", name)
    finally:
        if events:
            events.stop()


CONSOLES = """
import os, sys, threading, time
import libvirt
domain = (connection := libvirt.open(sys.argv[1])).lookupByName(sys.argv[2])
for _ in range(8):
    threading.Thread(target=lambda: domain.openConsole(None, connection.newStream(0), 0), daemon=True).start()
time.sleep(1)
os._exit(0)
"""


@case("virtd: a monitor that does not answer", "linux")
@with_daemon
def hanging_monitor(test, daemon, client):
    client.define("guest")
    client.virsh("start", "guest")
    daemon.kill()
    daemon.start("--patience", "3")  # seconds, within which one that does not hang has answered
    daemon.ask_monitor("hang")
    client.expect("the monitor does not answer", "suspend", "guest", status=1)
    client.expect("guest +running", "list")  # the others are served
    client.run(PYTHON, "-c", CONSOLES, client.uri, "guest")  # more than it takes connections
    client.expect("guest +running", "list")
    client.virsh("dominfo", "guest")
    client.expect("the monitor does not answer", "destroy", "--graceful", "guest", status=1)
    client.virsh("destroy", "guest")
    client.expect("shut off", "domstate", "guest")
    client.define("busy", kernel="/lingering")  # and one that answers when it has been killed
    client.virsh("start", "busy")
    client.virsh("destroy", "busy")
    client.expect("shut off", "domstate", "busy")
    client.virsh("start", "guest")  # and one that only hangs up
    daemon.ask_monitor("hang-up")
    client.wait_for_state("guest", "shut off")
    deadline = time.monotonic() + 20
    while open(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children", encoding="ascii").read():
        test.check(time.monotonic() < deadline, "a monitor that virtd does not know of is left")
        time.sleep(0.1)


@case("virtd: what is refused, and how it is said", "linux")
@with_daemon
def refusals(test, daemon, client):
    test.check(daemon.process.poll() is None, "virtd has ended")
    client.define("missing", kernel="/missing")
    client.expect("cannot open /missing: No such file", "start", "missing", status=1)
    client.expect("shut off", "domstate", "missing")
    client.define("good")
    client.virsh("start", "good")
    client.expect("already active", "start", "good", status=1)
    client.expect("not running", "shutdown", "missing", status=1)
    client.expect("cannot open /missing: No such file", "attach-disk", "good", "/missing", "vdb", status=1)
    client.expect("has no device 'vdb'", "detach-device-alias", "good", "vdb", status=1)
    client.expect("unknown request", "send-key", "good", "1", status=1)  # as the stand-in says
    client.expect("only the codeset 'linux'", "send-key", "good", "--codeset", "usb", "1", status=1)
    client.expect("3 vCPUs: from 1 to 2 are allowed", "setvcpus", "good", "3", status=1)
    client.expect("more than the maximum", "setmem", "good", "1G", status=1)
    for command, function in (("snapshot-create", "virDomainSnapshotCreateXML"), ("save /x", "virDomainSave"),
                              ("dump /x", "virDomainCoreDump"), ("domtime", "virDomainGetTime"),
                              ("domifaddr", "virDomainInterfaceAddresses"), ("perf", "virDomainGetPerfEvents"),
                              ("qemu-agent-command {}", "virDomainQemuAgentCommand")):
        verb, *words = command.split()
        client.expect(f"this function is not supported by the connection driver: {function}: .*unknown procedure",
                      verb, "good", *words, status=1)
    client.expect("no domain snapshot with matching name 'x'", "snapshot-revert", "good", "x", status=1)
    client.expect("no job is active", "domjobabort", "good", status=1)
    client.expect("no domain with matching name 'none'|failed to get domain", "dominfo", "none", status=1)
    for kind, command in (("network", "net-info"), ("storage pool", "pool-info"), ("node device", "nodedev-dumpxml")):
        client.expect(f"no {kind} with matching name 'x'", command, "x", status=1)
    for command in ("net-list", "pool-list", "nodedev-list", "iface-list"):
        test.check(not client.virsh(command).strip(), f"{command}: there is something")
    path = os.path.join(test.directory, "bad.xml")
    with open(path, "w", encoding="ascii") as file:
        file.write(definition("bad", devices="    <graphics type='vnc'/>\n"))
    client.expect(r"line 13: the element <graphics> .* is not supported: .*--graphics none", "define", path, status=1)
    client.virsh("destroy", "good")


@case("virtd: what a definition says is changed by verbs of their own", "linux")
@with_daemon
def changes(test, daemon, client):
    client.define("guest")
    client.virsh("start", "guest")
    events = connected_events(client, "guest")
    try:
        client.virsh("desc", "guest", "--live", "--config", "a web server")
        client.virsh("desc", "guest", "--title", "--config", "web")
        client.virsh("metadata", "guest", "http://example.org/1", "--key", "k", "--set", "<a><b/></a>", "--config")
        events.expect("'metadata-change' for domain 'guest': type description", "type title",
                      "type element, uri http://example.org/1")
        client.virsh("dommemstat", "guest", "--period", "5", "--config")
        client.virsh("set-lifecycle-action", "guest", "crash", "restart", "--config")
        client.expect("can be renamed", "domrename", "guest", "other", status=1)
        client.virsh("destroy", "guest")
        client.virsh("domrename", "guest", "other")
        events.expect("Undefined Renamed", "Defined Renamed")
    finally:
        events.stop()
    daemon.kill()
    daemon.start()
    client.expect("other +shut off +web", "list", "--all", "--title")
    client.expect("^a web server", "desc", "other")
    client.expect(r"^<a>\n  <b/>\n</a>", "metadata", "other", "http://example.org/1")
    client.expect(r"<k:a xmlns:k='http://example.org/1'>\n +<k:b/>", "dumpxml", "other")
    client.virsh("metadata", "other", "http://example.org/1", "--remove")
    test.check("k:a" not in client.virsh("dumpxml", "other"), "the metadata is still there")
    client.expect("<on_crash>restart</on_crash>", "dumpxml", "other")
    client.expect("<stats period='5'/>", "dumpxml", "other")


AGENT = "    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\n"


def start_with_disk(daemon, client, more=""):
    """Defines and starts "guest", whose vda is a file."""
    image = os.path.join(daemon.directory, "image")
    with open(image, "wb") as file:
        file.truncate(65536)
    client.define("guest", devices=f"    <disk type='file'><source file='{image}'/><target dev='vda'/></disk>\n" + more)
    client.virsh("start", "guest")


@case("virtd: what only a running domain says of itself", "linux")
@with_daemon
def live_definition(test, daemon, client):
    start_with_disk(daemon, client, AGENT)
    events = connected_events(client, "guest")
    state = "<target type='virtio' name='org.qemu.guest_agent.0' state='%s'/>"
    try:
        client.expect(state % "disconnected", "dumpxml", "guest")
        daemon.ask_monitor("channel-opened org.qemu.guest_agent.0")
        events.expect("'agent-lifecycle' for domain 'guest': state: 'connected' reason: 'channel event'")
        client.expect(state % "connected", "dumpxml", "guest")
        daemon.kill()
        daemon.start()
        client.wait_for(state % "connected", "dumpxml", "guest")
    finally:
        events.stop()
    for name in ("vda", "serial0", "channel0", "balloon0"):
        client.expect(f"<alias name='{name}'/>", "dumpxml", "guest")
    with open(os.path.join(test.directory, "live.xml"), "w", encoding="ascii") as file:
        file.write(client.virsh("dumpxml", "guest"))
    client.virsh("define", file.name)
    test.check(not re.search("alias|state=", client.virsh("dumpxml", "--inactive", "guest")), "the definition has a state")
    client.expect("^No errors|^$", "domblkerror", "guest")
    daemon.ask_monitor("fail")
    client.expect("^vda: unspecified error", "domblkerror", "guest")
    client.expect("errs 1$", "domblkstat", "guest", "vda")
    client.expect("^rss [1-9]", "dommemstat", "guest")
    client.virsh("inject-nmi", "guest")


@case("virtd: limits that no domain has, and what there is none of", "linux")
@with_daemon
def limits(test, daemon, client):
    start_with_disk(daemon, client)
    client.expect("^hard_limit *: unlimited$", "memtune", "guest")
    client.expect("^numa_mode *: strict$", "numatune", "guest")
    client.expect("^total_iops_sec *: 0$", "blkdeviotune", "guest", "vda")
    client.expect("has no disk 'vdx'", "blkdeviotune", "guest", "vdx", status=1)
    client.expect("^Total:\n\tcpu_time +3.0", "cpu-stats", "guest", "--total")
    client.expect(r"\b0\b", "emulatorpin", "guest")
    client.expect("^Job type: +None", "domjobinfo", "guest")
    client.expect("^ *0: +[0-9]+ KiB", "freecell", "--all")
    for command in ("iothreadinfo", "snapshot-list", "checkpoint-list"):
        test.check(not client.virsh(command, "guest").strip(), f"{command}: there is something")
    test.check(daemon.process.poll() is None, "virtd has ended")


@case("virtd: disks, interfaces and vCPUs are plugged, in what runs and in the definition", "linux")
@with_daemon
def plugging(test, daemon, client):
    image, interface = (os.path.join(daemon.directory, name) for name in ("image", "interface.xml"))
    with open(image, "wb") as file:
        file.truncate(65536)
    with open(interface, "w", encoding="ascii") as file:
        file.write("<interface type='vhostuser'><mac address='52:54:00:00:00:09'/>"
                   "<source type='unix' path='/socket' mode='client'/></interface>")
    client.define("guest")
    client.virsh("start", "guest")
    before = client.virsh("dumpxml", "guest"), client.virsh("dumpxml", "--inactive", "guest")
    client.virsh("attach-disk", "guest", image, "vdb", "--live", "--config")
    client.expect("target 'vdb' is another disk's too", "attach-disk", "guest", image, "vdb", status=1)
    client.virsh("attach-device", "guest", interface)
    client.expect("vnet0 +vhostuser +/socket +virtio +52:54:00:00:00:09", "domiflist", "guest")
    client.expect("^vnet0 rx_bytes 0$", "domifstat", "guest", "vnet0")
    for which in ((), ("--inactive",)):
        client.expect(rf"^ vdb +{image}$", "domblklist", "guest", *which)
    daemon.kill()
    daemon.start()
    client.expect(rf"^ vdb +{image}$", "domblklist", "guest")
    client.virsh("detach-disk", "guest", "vdb", "--config")
    daemon.kill()
    daemon.ask_monitor("remove-device vdb")
    daemon.start()
    client.virsh("detach-interface", "guest", "vhostuser", "--mac", "52:54:00:00:00:09")
    test.check((client.virsh("dumpxml", "guest"), client.virsh("dumpxml", "--inactive", "guest")) == before,
               "what came is not wholly gone")
    client.virsh("setvcpus", "guest", "1", "--live")
    client.expect(r"^current +config +2\ncurrent +live +1$", "vcpucount", "guest")
    client.virsh("setvcpus", "guest", "1", "--config")
    client.virsh("setvcpus", "guest", "2", "--live")
    client.expect(r"^current +config +1\ncurrent +live +2$", "vcpucount", "guest")
    client.virsh("attach-disk", "guest", image, "vdk")
    events = connected_events(client, "guest")
    try:
        client.virsh("detach-disk", "guest", "vdk")
        events.expect("'device-removal-failed'")
    finally:
        events.stop()
    client.expect(rf"^ vdk +{image}$", "domblklist", "guest")


# --- on Ashlar --------------------------------------------------------------------------------------------------------

class Pump:
    """Reads the machine's console in the background."""

    def __init__(self, test):
        self.test = test
        self.stopping = False
        self.thread = threading.Thread(target=self._pump)

    def _pump(self):
        while not self.stopping and not self.test.session.ended():
            self.test.session.step(0.1)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()


class Machine(Pump):
    """A boot with virtd on COM2."""

    def __init__(self, test, packages, **options):
        super().__init__(test)
        install("libvirt-clients", "python3-libvirt", "virtinst", "coreutils", *packages)
        test.boot(os.path.join(test.out, "bin/virtd"), "--serial /dev/ttyS1", guest=True, memory=768, **options)
        test.expect("^init: started virtd")
        self.management = Management(0)
        self.management.start(test.emulator.management)
        self.client = Client(test, self.management.uri)

    def __enter__(self):
        super().__enter__()
        return self.client


CONSOLE = r"""
import os, pty, select, sys, time
uri, name, typed, wanted = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp("virsh", ["virsh", "-q", "-c", uri, "console", name])
seen, sent, deadline = "", False, time.monotonic() + 200
try:
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([fd], [], [], 0.5)[0]:
            seen += os.read(fd, 4096).decode(errors="replace")
        if not sent and "guest:~#" in seen:
            os.write(fd, typed.encode() + b"\n")
            sent = True
    while True:  # until virsh has left: it looks for its escape character only where it begins to read
        os.write(fd, b"\x1d")
        while select.select([fd], [], [], 1)[0]:
            seen += os.read(fd, 4096).decode(errors="replace")
except OSError:
    pass  # it has
os.waitpid(pid, 0)
print(seen)
sys.exit(0 if wanted in seen else 1)
"""


def type_at_console(client, name, typed, wanted):
    client.run(PYTHON, "-c", CONSOLE, client.uri, name, typed, wanted)


CHANNEL = """
import sys
import libvirt
stream = (connection := libvirt.open(sys.argv[1])).newStream(0)
connection.lookupByName(sys.argv[2]).openChannel(sys.argv[3], stream, 0)
stream.send(b"from outside\\n")
seen = b""
while b"\\n" not in seen:
    seen += stream.recv(1024)
print(seen.decode())
"""


def check_channel(client, name, channel):
    """Bytes of a program outside to one of the guest's, and back."""
    # A port that nobody outside has open reads as ended.
    type_at_console(client, name, f"/etc/ports; (exec 3<>/dev/virtio-ports/{channel}; until read x <&3; do sleep 1; done; "
                                  "echo guest has $x >&3)& echo open$((6*7))", "open42")
    client.wait_for(f"name='{channel}' state='connected'", "dumpxml", name)
    answer = client.run(PYTHON, "-c", CHANNEL, client.uri, name, channel)
    client.test.check("guest has from outside" in answer, f"through the channel came: {answer}")


def vcpu_time(client, name):
    return int(client.expect(r"^  vcpu\.0\.time=(\d+)", "domstats", name).group(1))


def check_keyboard(client, name):
    """Alt, SysRq and H together: the guest's kernel prints what it could do."""
    client.virsh("send-key", name, "KEY_LEFTALT", "KEY_SYSRQ", "KEY_H")
    type_at_console(client, name, "until dmesg | grep -q 'sysrq: HELP'; do sleep 0.1; done; echo help$((6*7))", "help42")


def check_nmi(client, name):
    """Nobody has asked for it: the guest's kernel says so."""
    client.virsh("inject-nmi", name)
    type_at_console(client, name, "until dmesg | grep -q 'NMI received'; do sleep 0.1; done; echo dazed$((6*7))", "dazed42")


def check_host(client):
    client.expect("Running hypervisor: QEMU", "version")
    client.expect("qemu", "uri")
    client.expect("^ashlar$", "hostname")
    client.expect(r"^CPU\(s\): +2$", "nodeinfo")
    client.expect("<domain type='kvm'/>", "capabilities")


def check_inspection(client, name):
    client.expect(rf"\b{name}\b +running", "list", "--all")
    client.expect(r"^CPU\(s\): +2$", "dominfo", name)
    client.expect("^running", "domstate", name)
    client.expect("<on_crash>destroy</on_crash>", "dumpxml", name)
    client.expect(r"^State: +running$", "vcpuinfo", name)
    client.virsh("vcpupin", name, "0", "1")
    client.expect(r"^ *0 +1$", "vcpupin", name)
    client.virsh("vcpupin", name, "0", "0-1")
    client.virsh("schedinfo", name, "--set", "cpu_shares=200", "vcpu_quota=90000")
    client.expect(r"^cpu_shares *: 200$", "schedinfo", name)
    client.expect(r"^vcpu_quota *: 90000$", "schedinfo", name)
    client.virsh("schedinfo", name, "--set", "vcpu_quota=-1")
    client.expect(r"^  vcpu\.0\.time=[1-9]", "domstats", name)
    client.expect(r"^actual ", "dommemstat", name)
    client.expect(r"^rss [1-9]\d{4,}", "dommemstat", name)
    client.virsh("domblklist", name)
    client.virsh("domiflist", name)
    output = client.run(PYTHON, "-c", TUTORIAL, client.uri)
    client.test.check(f"{name} [1, " in output, f"the tutorial's program: {output}")


def check_plugging(client, name, events):
    """A disk comes and a CPU goes, and the other way round, under the guest's eyes."""
    client.virsh("attach-disk", name, "/guest/initrd.img", "vdb", "--mode", "readonly", "--live", "--config")
    client.virsh("setvcpus", name, "1")
    type_at_console(client, name, "modprobe virtio_blk; until [ -e /dev/vda ] && [ $(nproc) = 1 ]; do sleep 0.1; done; "
                                  "echo $(head -c 6 /dev/vda)seen", "070701seen")
    client.expect(r"^ vdb +/guest/initrd.img$", "domblklist", name)
    client.expect(r"^  block\.0\.rd\.bytes=[1-9]", "domstats", name)
    client.virsh("detach-disk", name, "vdb", "--live", "--config")
    client.virsh("setvcpus", name, "2")
    type_at_console(client, name, "until ! [ -e /dev/vda ] && echo 1 >/sys/devices/system/cpu/cpu1/online; do sleep 0.1; "
                                  "done 2>/dev/null; echo $(nproc)gone", "2gone")
    events.expect("'device-added'", "'device-removed'")
    client.test.check("vdb" not in client.virsh("dumpxml", name), "the disk is still in the definition")


def scrape(client, name):
    """prometheus-libvirt-exporter reads the domain."""
    deadline = time.monotonic() + COMMAND_TIMEOUT
    exporter = None
    try:
        while True:
            if not exporter or exporter.poll() is not None:  # the port that was free is another's by now
                with socket.create_server(("127.0.0.1", 0)) as free:
                    port = free.getsockname()[1]
                exporter = subprocess.Popen(
                    ["prometheus-libvirt-exporter", "--libvirt.uri", client.uri, "--web.listen-address",
                     f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=COMMAND_TIMEOUT) as answer:
                    text = answer.read().decode()
                break
            except OSError:
                client.test.check(time.monotonic() < deadline, "the exporter does not listen")
                time.sleep(0.2)
    finally:
        exporter.kill()
        exporter.wait()
    for pattern in ("^libvirt_up 1$", rf'^libvirt_domain_info_cpu_time_seconds_total{{domain="{name}",.*}} [0-9.e+]*[1-9]'):
        client.test.check(re.search(pattern, text, re.MULTILINE), f"the exporter's answer has no /{pattern}/: {text}")


@case("libvirt: virsh and python-libvirt on Ashlar through COM2", "tcg")
def virsh_on_ashlar(test):
    with Machine(test, ("prometheus-libvirt-exporter",)) as client:
        check_host(client)
        client.define("guest", memory=160,
                      devices="    <channel type='unix'><target type='virtio' name='org.ashlar.0'/></channel>\n"
                              "    <input type='keyboard' bus='virtio'/>\n")
        client.virsh("start", "guest")
        events = connected_events(client, "guest")
        try:
            type_at_console(client, "guest", "echo typed$((6*7))", "typed42")
            type_at_console(client, "guest", "", "typed42")  # attached again: what it showed before
            check_inspection(client, "guest")
            check_channel(client, "guest", "org.ashlar.0")
            check_keyboard(client, "guest")
            check_nmi(client, "guest")
            check_plugging(client, "guest", events)
            scrape(client, "guest")
            client.virsh("suspend", "guest")
            client.expect("^paused", "domstate", "guest")
            client.virsh("resume", "guest")
            events.expect("Suspended", "Resumed")
            client.virsh("vcpupin", "guest", "0", "1")
            before = vcpu_time(client, "guest")
            client.virsh("reset", "guest")
            events.expect("'reboot'")
            # What the power button is to be pressed for is there a little after the prompt.
            type_at_console(client, "guest", "until [ -e /tmp/acpid.pid ]; do sleep 0.1; done; echo again$((6*7))", "again42")
            client.wait_for(r"^VCPU: +0\nCPU: +1$", "vcpuinfo", "guest")  # on the CPU that it was pinned to before
            test.check(vcpu_time(client, "guest") > before, "the vCPU's time begins again with a reset")
            client.virsh("reboot", "guest")
            events.expect("'reboot'", "'reboot'")
            client.wait_for_state("guest", "running")
            type_at_console(client, "guest", "echo anew$((6*7))", "anew42")
            client.virsh("autostart", "guest")
            client.expect(r"^Autostart: +enable$", "dominfo", "guest")
            client.virsh("destroy", "guest")
            events.expect("Stopped")
            client.edit("guest", "s/120/96/")
            client.virsh("start", "guest")
            events.expect("Stopped", "Started")
            client.virsh("destroy", "guest")
            client.virsh("undefine", "guest")
            events.expect("Undefined")
        finally:
            events.stop()
        test.check(not client.virsh("list", "--all", "--name").strip(), "a domain is left")


def install_domain(client, disk):
    client.run("virt-install", "--connect", client.uri, "--name", "installed", "--memory", "128", "--import",
               "--osinfo", "debian11", "--boot",
               f"kernel=/guest/vmlinuz,initrd=/guest/initrd.img,kernel_args={CMDLINE}", "--disk",
               f"path={disk},format=raw,target.bus=virtio,readonly=on", "--network", "none", "--graphics", "none",
               "--controller", "usb,model=none", "--noautoconsole")
    client.expect(r"^Persistent: +yes$", "dominfo", "installed")
    client.expect(rf"^ vda +{re.escape(disk)}$", "domblklist", "installed")


@case("virtd: virt-install", "linux")
@with_daemon
def virt_install_on_linux(test, daemon, client):
    install_domain(client, os.path.realpath(MONITOR))
    client.virsh("destroy", "installed")
    test.check(daemon.process.poll() is None, "virtd has ended")


@case("libvirt: virt-install on Ashlar through COM2", "tcg")
def virt_install(test):
    with Machine(test, ()) as client:
        install_domain(client, "/guest/initrd.img")
        type_at_console(client, "installed", "echo typed$((6*7))", "typed42")
        client.virsh("destroy", "installed")


class Screen:
    """virt-manager on an X server of its own, on whose framebuffer we look."""

    WIDTH, HEIGHT = 1024, 768
    START_BUTTON = 124, 45  # in the window of a domain, which fills a screen without a window manager

    def __init__(self, client, name):
        self.directory = client.test.directory
        self.log = os.path.join(self.directory, "virt-manager.log")
        self.processes = []
        read, write = os.pipe()
        self._start("Xvfb", "-displayfd", str(write), "-screen", "0", f"{self.WIDTH}x{self.HEIGHT}x24", "-fbdir",
                    self.directory, pass_fds=[write])
        with os.fdopen(read) as pipe:
            os.close(write)
            display = ":" + pipe.readline().strip()
        self.environment = dict(os.environ, DISPLAY=display, HOME=self.directory, NO_AT_BRIDGE="1", LC_ALL="C.UTF-8")
        self._start("dbus-run-session", "--", "virt-manager", "--connect", client.uri, "--no-fork", "--debug",
                    "--show-domain-console", name, env=self.environment)

    def _start(self, *command, **options):
        with open(self.log, "ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options))

    def expect(self, pattern):
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while True:
            with open(self.log, errors="replace") as log:
                text = log.read()
            if re.search(pattern, text):
                return
            if time.monotonic() > deadline:
                raise Failure(f"virt-manager does not say /{pattern}/: {text[-1000:]}")
            time.sleep(0.2)

    def click(self, x, y):
        subprocess.run(["xdotool", "mousemove", str(x), str(y), "click", "1"], env=self.environment, check=True)

    def rows(self):
        """The screen's lines of 4-byte pixels, blue first, out of the X window dump that Xvfb keeps."""
        with open(os.path.join(self.directory, "Xvfb_screen0"), "rb") as dump:
            data = dump.read()
        header = struct.unpack_from(">25I", data)
        start, stride = header[0] + 12 * header[19], header[12]
        return [data[start + y * stride:start + y * stride + 4 * self.WIDTH] for y in range(self.HEIGHT)]

    def save(self, name):
        """Keeps the screen as a PNG image (RFC 2083)."""
        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        lines = b"".join(b"\0" + b"".join(row[i + 2:i + 3] + row[i + 1:i + 2] + row[i:i + 1]
                                          for i in range(0, len(row), 4)) for row in self.rows())
        with open(os.path.join(self.directory, name), "wb") as image:
            image.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", self.WIDTH, self.HEIGHT, 8, 2, 0, 0, 0))
                        + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))

    def wait_for_text(self):
        """Waits until the terminal, black, has bright characters in its lower left quarter."""
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while True:
            # Without the window's border.
            quarter = b"".join(row[64:2 * self.WIDTH] for row in self.rows()[self.HEIGHT // 2:-16])
            bright = sum(1 for at in range(0, len(quarter), 4) if min(quarter[at:at + 3]) > 160)
            if quarter.count(b"\0\0\0") > len(quarter) // 16 and 200 < bright < len(quarter) // 16:
                return
            if time.monotonic() > deadline:
                raise Failure("virt-manager shows no text console")
            time.sleep(1)

    def stop(self):
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def show_virt_manager(client, name, typed=None):
    """Starts the domain by virt-manager's button and waits for many lines of its console, which the command TYPED prints:
    virsh types it, for nothing gives the keyboard to a window here."""
    screen = Screen(client, name)
    try:
        screen.expect("changed to state=Active")
        screen.expect("Showing VM details")
        deadline = time.monotonic() + COMMAND_TIMEOUT
        while client.virsh("domstate", name).strip() == "shut off":  # the window may not be drawn yet
            client.test.check(time.monotonic() < deadline, "virt-manager's button does not start the domain")
            time.sleep(3)
            screen.click(*Screen.START_BUTTON)
        client.wait_for_state(name, "running")
        screen.expect("Opening console stream")
        if typed:
            type_at_console(client, name, typed, "Command line:")
        screen.wait_for_text()
    finally:
        screen.save("virt-manager.png")
        screen.stop()


GRAPHICAL = ("virt-manager", "xvfb", "dbus", "xdotool")


@case("virtd: virt-manager starts a domain and shows its console", "linux")
@with_daemon
def virt_manager_on_linux(test, daemon, client):
    subprocess.run([INSTALL, *GRAPHICAL], check=True)
    client.define("guest")
    show_virt_manager(client, "guest")
    test.check(daemon.process.poll() is None, "virtd has ended")


@case("libvirt: virt-manager on Ashlar through COM2", "tcg")
def virt_manager(test):
    with Machine(test, GRAPHICAL) as client:
        client.define("guest")
        show_virt_manager(client, "guest", "dmesg | head -60")
        client.virsh("destroy", "guest")


@case("libvirt: virsh on Ashlar through COM2", "bochs")
def virsh_on_vt_x(test):
    with Machine(test, ()) as client:
        client.define("guest")
        client.virsh("start", "guest")
        client.expect(r"guest +running", "list", "--all")
        client.virsh("suspend", "guest")
        client.virsh("resume", "guest")
        client.expect(r"^  vcpu\.0\.time=[1-9]", "domstats", "guest")
        client.virsh("destroy", "guest")
