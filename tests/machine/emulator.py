# SPDX-License-Identifier: BSD-2-Clause
"""The emulators that can be Ashlar's machine, each with COM1 and COM2 as two-way sockets."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import threading
import time

import disk
import kvm_capability

# An emulator must not outlive us, even where we are killed.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
EXAMINE_TIMEOUT = 10  # seconds until an emulator must have said where its CPUs are
CONNECT_TIMEOUT = 120  # seconds until an emulator must have opened its serial line


class EmulatorError(Exception):
    """The emulator could not be started."""


def _drain(descriptor):
    """Reads DESCRIPTOR to nowhere until it ends: an unread pty stops an emulator that writes to it."""

    def loop():
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass

    threading.Thread(target=loop, daemon=True).start()


class Emulator:
    """One run. `serial` is the connected socket of COM1, `management` that of COM2."""

    firmware = "/usr/share/ovmf/OVMF.fd"
    bios = None  # the firmware that came before UEFI
    second_disk = None  # before start(): a raw image, unit 1 beside the one that the machine boots from

    def __init__(self, directory, image, cpus, memory):
        self.directory = directory
        self.image = image
        self.cpus = cpus
        self.memory = memory
        self.process = None
        self.serial = None
        self.management = None
        self.listeners = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self):
        try:
            # The emulator connects to us, so no port is raced for. TCP, because a Unix socket holds only a few hundred
            # writes of one byte and QEMU throws away what does not fit.
            for _ in range(2):
                self.listeners.append(socket.create_server(("127.0.0.1", 0), backlog=1))
                self.listeners[-1].settimeout(0.1)
            self._start([listener.getsockname()[1] for listener in self.listeners])
            self.serial, self.management = map(self._accept, self.listeners)
        except BaseException:
            self.stop()
            raise

    def count_instructions(self):
        """Before start(): makes a tick of the machine's clocks an instruction, where the emulator can and does not anyway."""

    def _start(self, ports):
        """Starts the process, whose COM1 and COM2 connect to PORTS."""
        raise NotImplementedError

    def _accept(self, listener):
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while time.monotonic() < deadline:
            try:
                serial = listener.accept()[0]
                serial.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return serial
            except TimeoutError:
                if self.process.poll() is not None:
                    raise EmulatorError(self._last_words()) from None
        raise EmulatorError("the emulator does not open its serial line")

    def _last_words(self):
        try:
            with open(self.path("emulator.log"), errors="replace") as log:
                lines = [line.strip() for line in log if line.strip()]
        except OSError:
            lines = []
        return "the emulator ended: " + " | ".join(lines[-3:] or ["no message"])

    def running(self):
        return self.process.poll() is None

    def powered_off(self):
        """After the end: whether the machine switched itself off, rather than reset or died."""
        raise NotImplementedError

    def cause_of_death(self):
        """After the end of a machine that did not power off: what the emulator says about it."""
        raise NotImplementedError

    def instruction_pointers(self):
        """Of a running machine: the address at which each CPU is now; an empty list where the emulator does not say."""
        raise NotImplementedError

    def stop(self):
        """Ends the emulator however it feels; a wedged Bochs ignores SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()
        for connection in (self.serial, self.management, *self.listeners):
            if connection is not None:
                connection.close()


class Bochs(Emulator):
    name = "Bochs"
    bios = "/usr/share/bochs/BIOS-bochs-latest"
    cpu_model = "corei7_icelake_u"
    ips = 50000000
    # What its debugger says of each CPU when it stops: (0) [0x00001e0385bd] 0010:ffffffff800385bd (unk. ctxt): ...
    STOPPED = re.compile(rb"^\((\d+)\) \[0x[0-9a-f]+\] [0-9a-f]+:([0-9a-f]+) ", re.MULTILINE)

    _terminal = b""  # what it wrote last
    _master = None

    def more(self):
        """Further lines."""
        return ()

    def _disk(self, drive, image):
        sectors = os.path.getsize(image) // disk.SECTOR
        if os.path.getsize(image) % disk.GEOMETRY:
            raise EmulatorError(f"{image}: Bochs wants whole cylinders: truncate -s %{disk.GEOMETRY} {image}")
        return (f"ata0-{drive}: type=disk, path={image}, mode=flat, cylinders={sectors // (16 * 63)}, heads=16, spt=63")

    def _configuration(self, ports):
        return "\n".join((
            "plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, e1000=1",
            "display_library: term",
            f"cpu: model={self.cpu_model}, count={self.cpus}, ips={self.ips}, reset_on_triple_fault=0",
            f"memory: guest={self.memory}, host={self.memory}",
            f"romimage: file={self.firmware}",
            "vgaromimage: file=/usr/share/vgabios/vgabios.bin",
            "pci: enabled=1, chipset=i440fx, slot1=e1000",
            f"e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=slirp, ethdev={self.directory}",
            "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
            self._disk("master", self.image),
            *([self._disk("slave", self.second_disk)] if self.second_disk else []),
            *self.more(),
            "boot: disk",
            *(f"com{number}: enabled=1, mode=socket-client, dev=127.0.0.1:{port}"
              for number, port in enumerate(ports, 1)),
            f"log: {self.path('emulator.log')}",
            "panic: action=fatal",
            "error: action=report",
            "info: action=report",
            "debug: action=ignore",
            "clock: sync=none",
        )) + "\n"

    def _start(self, ports):
        with open(self.path("bochsrc"), "w") as target:
            target.write(self._configuration(ports))
        with open(self.path("debugger"), "w") as target:
            target.write("c\n")  # Debian's Bochs stops at its debugger's prompt otherwise
        master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*DIE_WITH_PARENT, "bochs", "-q", "-f", self.path("bochsrc"), "-rc", self.path("debugger")],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env=dict(os.environ, TERM="xterm"))
        os.close(slave)
        self._master = master
        threading.Thread(target=self._read_terminal, daemon=True).start()

    def _read_terminal(self):
        """Bochs's `term` display opens a pty of its own and names it on the terminal."""
        drained = False
        try:
            while data := os.read(self._master, 4096):
                self._terminal = (self._terminal + data)[-65536:]
                screen = None if drained else re.search(rb"/dev/pts/\d+(?=\D)", self._terminal)
                if screen:
                    drained = True
                    _drain(os.open(screen[0].decode(), os.O_RDONLY | os.O_NOCTTY))
        except OSError:
            pass

    def instruction_pointers(self):
        self._terminal = b""
        self.process.send_signal(signal.SIGINT)  # its debugger stops the machine
        deadline = time.monotonic() + EXAMINE_TIMEOUT
        while len(found := dict(self.STOPPED.findall(self._terminal))) < self.cpus and time.monotonic() < deadline:
            time.sleep(0.05)
        os.write(self._master, b"c\n")
        return [int(found[cpu], 16) for cpu in sorted(found, key=int)]

    def powered_off(self):
        try:
            with open(self.path("emulator.log"), errors="replace") as log:
                return "Shutdown port: shutdown requested" in log.read()
        except OSError:
            return False

    def cause_of_death(self):
        with open(self.path("emulator.log"), errors="replace") as log:
            panics = [line for line in log if re.match(r"\d+p\[|.*>>PANIC<<", line)]
        return panics[-1].strip() if panics else self._last_words()


class Qemu(Emulator):
    acceleration = ()
    nic = "e1000e"
    bios = "/usr/share/seabios/bios-256k.bin"

    monitor = None
    _events = b""

    def more(self):
        """Further arguments."""
        return ()

    def _start(self, ports):
        with open(self.path("emulator.log"), "w") as log, \
                socket.create_server(self.path("qmp"), family=socket.AF_UNIX, backlog=1) as qmp:
            qmp.settimeout(CONNECT_TIMEOUT)
            self.process = subprocess.Popen(
                [*DIE_WITH_PARENT, "qemu-system-x86_64", *self.acceleration, "-machine", "q35", "-nodefaults",
                 "-smp", str(self.cpus), "-m", str(self.memory), "-bios", self.firmware,
                 "-vga", "std", "-display", "none", "-no-reboot", *self.more(),
                 *(word for image in (self.image, self.second_disk) if image
                   for word in ("-drive", f"file={image},format=raw,if=ide")),
                 "-netdev", "user,id=net", "-device", f"{self.nic},netdev=net,romfile=",
                 *(word for number, port in enumerate(ports, 1) for word in (
                     "-chardev", f"socket,id=com{number},host=127.0.0.1,port={port},server=off",
                     "-serial", f"chardev:com{number}")),
                 "-chardev", f"socket,id=qmp,path={self.path('qmp')},server=off",
                 "-mon", "chardev=qmp,mode=control"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                self.monitor = qmp.accept()[0]
            except TimeoutError:
                raise EmulatorError(self._last_words()) from None
        self.monitor.sendall(b'{"execute": "qmp_capabilities"}\n')

    def _end_reason(self):
        """QEMU's monitor names the reason of the end."""
        while select.select([self.monitor], [], [], 1)[0]:
            try:
                data = self.monitor.recv(65536)
            except OSError:
                break
            if not data:
                break
            self._events += data
        for line in self._events.splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if message.get("event") == "SHUTDOWN":
                return message["data"].get("reason", "unknown")
        return "none"

    def instruction_pointers(self):
        question = {"execute": "human-monitor-command", "id": "registers",
                    "arguments": {"command-line": "info registers -a"}}
        self.monitor.sendall(json.dumps(question).encode() + b"\n")
        deadline = time.monotonic() + EXAMINE_TIMEOUT
        answer = None
        while not answer and select.select([self.monitor], [], [], max(0, deadline - time.monotonic()))[0]:
            data = self.monitor.recv(65536)
            if not data:
                break
            self._events += data
            answer = re.search(rb'^[^\n]*"registers"[^\n]*\n', self._events, re.MULTILINE)
        if not answer:
            return []
        self._events = self._events.replace(answer[0], b"")
        return [int(address, 16) for address in re.findall(rb"[RE]IP=([0-9a-f]+)", answer[0])]

    def powered_off(self):
        return self._end_reason() == "guest-shutdown"

    def cause_of_death(self):
        if self._end_reason() == "guest-reset":
            return "a triple fault or a reset"
        return self._last_words()

    def stop(self):
        super().stop()
        if self.monitor is not None:
            self.monitor.close()


class QemuKvm(Qemu):
    name = "QEMU with nested KVM"
    acceleration = ("-accel", "kvm", "-cpu", "host")


class QemuTcg(Qemu):
    name = "QEMU TCG with AMD-V"
    # With a thread for each CPU, QEMU 7.2 now and then reports the host's own page walk right after an exit as a
    # nested page fault of the guest, and saves the host's state over the guest's in the VMCB. One thread does not.
    acceleration = ("-accel", "tcg,thread=single", "-cpu", "max")

    def count_instructions(self):
        # Idle time is skipped, so nothing depends on the host's clock.
        self.acceleration += ("-icount", "shift=0,sleep=off")


class QemuBare(QemuTcg):
    name = "QEMU TCG without virtualization"
    acceleration = ("-accel", "tcg", "-cpu", "max,svm=off")


class QemuNuma(QemuTcg):
    name = "QEMU TCG with two NUMA nodes"

    def more(self):
        for node in range(2):
            yield from ("-object", f"memory-backend-ram,id=m{node},size={self.memory // 2}M",
                        "-numa", f"node,nodeid={node},cpus={node},memdev=m{node}")
        yield from ("-numa", "dist,src=0,dst=1,val=21")


class QemuDevices(QemuTcg):
    name = "QEMU TCG with devices to drive"

    def more(self):
        # Four slots apart two devices share a line.
        return ("-device", "edu,dma_mask=0xffffffffffffffff,addr=8", "-device", "nvme,serial=1,addr=c",
                "-device", "pcie-root-port,id=below,chassis=1",
                "-device", "virtio-rng-pci,bus=below,disable-legacy=on,iommu_platform=on")


class QemuVtd(QemuDevices):
    name = "QEMU TCG with VT-d"

    def more(self):
        return ("-device", "intel-iommu,intremap=on", *super().more())


class QemuAmdVi(QemuDevices):
    name = "QEMU TCG with AMD-Vi"

    def more(self):
        return ("-device", "amd-iommu,intremap=on", *super().more())


class WithDisks:
    """Disk controllers of each kind, whose disks cannot read sector BAD_SECTOR. Those that may have blocks of BLOCK bytes."""

    BAD_SECTOR = 20000
    BLOCK = 512
    DISKS = {"nvme": "0000:00:10.0,1", "virtio": "0000:00:11.0,0", "ahci": "0000:00:12.0,2", "ide": "0000:00:13.0,3"}

    def more(self):
        yield from super().more()
        for name in self.DISKS:
            image = self.path(f"{name}.img")
            with open(image, "wb") as file:
                file.truncate(32 << 20)
            yield from ("-blockdev", f"driver=raw,node-name={name},discard=unmap,file.driver=blkdebug,file.discard=unmap,"
                        f"file.inject-error.0.event=read_aio,file.inject-error.0.sector={self.BAD_SECTOR},"
                        f"file.image.driver=file,file.image.discard=unmap,file.image.filename={image}")
        for device in (f"nvme,addr=10,drive=nvme,serial=nvme,logical_block_size={self.BLOCK},physical_block_size=4096",
                       f"virtio-blk-pci,addr=11,drive=virtio,serial=virtio,disable-legacy=on,iommu_platform=on,logical_block_size={self.BLOCK},"
                       "physical_block_size=4096",
                       "ahci,addr=12,id=ahci", "ide-hd,bus=ahci.2,drive=ahci,serial=ahci",
                       "piix3-ide,addr=13,id=ide", "ide-hd,bus=ide.1,unit=1,drive=ide,serial=ide"):
            yield from ("-device", device)


class BochsDisks(Bochs):
    name = "Bochs with a second disk"

    def more(self):
        image = self.path("ide.img")
        with open(image, "wb") as file:
            file.truncate(64 * disk.GEOMETRY)
        return (self._disk("slave", image),)


class QemuDisks(WithDisks, QemuTcg):
    name = "QEMU TCG with disk controllers"


class QemuDisksVtd(WithDisks, QemuVtd):
    name = "QEMU TCG with disk controllers behind VT-d"


class QemuDisksAmdVi(WithDisks, QemuAmdVi):
    name = "QEMU TCG with disk controllers behind AMD-Vi"
    BLOCK = 4096


class WithNics:
    """Network interfaces of each kind, each on a network of its own, 10.0.N.0, where 10.0.N.2 is this host."""

    NICS = {5: ("0000:00:15.0", "e1000e"), 6: ("0000:00:16.0", "virtio-net-pci,disable-legacy=on,iommu_platform=on"),
            7: ("0000:00:17.0", "e1000")}

    def more(self):
        yield from super().more()
        for network, (address, model) in self.NICS.items():
            yield from ("-netdev", f"user,id=net{network},net=10.0.{network}.0/24",
                        "-device", f"{model},netdev=net{network},addr={address[8:]},romfile=")


class QemuNicsVtd(WithNics, QemuVtd):
    name = "QEMU TCG with network interfaces behind VT-d"


class QemuNicsAmdVi(WithNics, QemuAmdVi):
    name = "QEMU TCG with network interfaces behind AMD-Vi"


class QemuSkip(QemuTcg):
    name = "QEMU TCG that skips idle time"

    def more(self):
        return ("-icount", "shift=0,sleep=off")


class QemuThreads(QemuTcg):
    name = "QEMU TCG with two hyper-threads a core"

    def more(self):
        return ("-smp", f"{self.cpus},sockets=1,cores={self.cpus // 2},threads=2")


MACHINES = {"kvm": QemuKvm, "bochs": Bochs, "tcg": QemuTcg, "bare": QemuBare, "numa": QemuNuma,
            "devices": QemuDevices, "vtd": QemuVtd, "amdvi": QemuAmdVi,
            "bochs-disks": BochsDisks, "disks": QemuDisks, "disks-vtd": QemuDisksVtd, "disks-amdvi": QemuDisksAmdVi,
            "nics-vtd": QemuNicsVtd, "nics-amdvi": QemuNicsAmdVi, "skip": QemuSkip, "threads": QemuThreads}


def with_vmx():
    """The name of the best machine with VT-x."""
    return "kvm" if kvm_capability.offers_vmx() else "bochs"


def choose(name=""):
    """The class for MACHINE=NAME; without a name the best that the host offers: TCG emulates AMD-V several times as fast
    as Bochs emulates VT-x."""
    if not name:
        name = "kvm" if kvm_capability.offers_virtualization() else "tcg"
    if name not in MACHINES:
        raise EmulatorError(f"MACHINE={name}: not one of {', '.join(MACHINES)}")
    return MACHINES[name]
