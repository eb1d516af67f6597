# SPDX-License-Identifier: BSD-2-Clause
"""`make run`: boots Ashlar in an emulator with the terminal as its console.

Settings come from the environment, named as make's variables. The exit status is that of the program which init ran,
0 after a plain run's power-off, 1 with a message when the machine died, 124 after TIMEOUT."""

import os
import queue
import shutil
import signal
import sys
import tempfile
import termios
import threading
import time
import tty

import boot_disk
import emulator
import session
from management import Management

ESCAPE = 0x01  # Ctrl-A
HIGH_WATER = 4096  # bytes of input held here before reading of standard input stops
LOADER_TIMEOUT = 300  # seconds until the loader's first line
TIMED_OUT = 124  # as timeout(1)


def setting(name, default=""):
    return os.environ.get(name) or default


def number(name, default, low, high):
    text = setting(name, str(default))
    if not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{name}={text}: not a number from {low} to {high}")
    return int(text)


class Terminal:
    """Standard input in raw mode while it is a terminal; Ctrl-A x leaves, Ctrl-A Ctrl-A is one Ctrl-A."""

    def __init__(self):
        self.descriptor = sys.stdin.fileno()
        self.raw = os.isatty(self.descriptor)
        self.open = True
        self._escaped = False
        self._saved = None

    def __enter__(self):
        if self.raw:
            self._saved = termios.tcgetattr(self.descriptor)
            tty.setraw(self.descriptor)
        return self

    def __exit__(self, *_):
        if self._saved is not None:
            termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self._saved)

    def read(self):
        """The next input, b"" at its end, None where the user leaves."""
        try:
            data = os.read(self.descriptor, 1024)
        except OSError:
            data = b""
        if not data:
            self.open = False
        if not self.raw:
            return data
        result = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                if byte in b"xX":
                    return None
                result.append(byte)
            elif byte == ESCAPE:
                self._escaped = True
            else:
                result.append(byte)
        return bytes(result)


class Output:
    """Standard output, written by a thread of its own: a slow terminal must not keep the serial line unread, for an
    emulator throws away what it cannot send."""

    def __init__(self):
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._queue.put(None)
        self._thread.join()

    def write(self, data):
        self._queue.put(data)

    def _loop(self):
        while (data := self._queue.get()) is not None:
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(1, view):]
                except BlockingIOError:
                    time.sleep(0.01)
                except OSError:
                    view = b""  # nobody reads any more; the run goes on


def interact(machine, terminal, timeout, management):
    """Runs to the end. Returns (status, message)."""
    started = time.monotonic()
    while not machine.ended():
        if machine.ready() and management:
            management.start(machine.emulator.management)
        if timeout and time.monotonic() - started > timeout:
            return TIMED_OUT, f"no end within TIMEOUT={timeout} seconds"
        if not machine.log and time.monotonic() - started > LOADER_TIMEOUT:
            return 1, "firmware did not start the loader"
        wanted = terminal.open and machine.backlog() < HIGH_WATER
        if machine.step(0.25, [terminal.descriptor] if wanted else []):
            data = terminal.read()
            if data is None:
                return 1, "left by Ctrl-A x"
            machine.send(data)
    return machine.verdict()


def prepare(directory, out):
    program = setting("PROGRAM")
    files = setting("FILES").split()
    guest_disk = setting("GUEST_DISK")
    for path in ([program] if program else []) + files + ([guest_disk] if guest_disk else []):
        if not os.path.exists(path):
            raise ValueError(f"{path}: no such file")
    config = boot_disk.make_config({
        "program": f"/work/{os.path.basename(program)}" if program else None,
        "args": setting("ARGS") if program else None,
        "guest.cpus": setting("GUEST_CPUS"),
        "guest.memory": setting("GUEST_MEMORY"),
        "guest.cmdline": setting("GUEST_CMDLINE"),
        **({} if program else boot_disk.guest_devices("unit=1" if guest_disk else "partition=guest")),
        **{key: os.environ[name] for key, name in (("drivers", "DRIVERS"), ("guest.devices", "GUEST_DEVICES"))
           if name in os.environ},
        "autostart": None if program else "yes",
    })
    initrd = boot_disk.make_initrd(out, program or None, files, guest=not program)
    root = os.path.join(out, "guest/root")
    return boot_disk.make_image(directory, out, initrd, config, guest=None if program else root)


def keep_log(directory, out):
    """The last run's log where people look for it."""
    try:
        shutil.copyfile(os.path.join(directory, "serial.log"), os.path.join(out, "run/serial.log"))
    except OSError:
        pass


def run(directory, out):
    kind = emulator.choose(setting("MACHINE"))
    machine = kind(directory, prepare(directory, out), number("CPUS", 2, 1, 64),
                   number("MEMORY", 512, 64, 1 << 20))
    machine.second_disk = setting("GUEST_DISK") or None
    if setting("COUNT_INSTRUCTIONS"):
        machine.count_instructions()
    timeout = number("TIMEOUT", 0, 0, 1 << 30)
    managed = not setting("PROGRAM") or setting("VIRTD_PORT")
    management = Management(number("VIRTD_PORT", 0, 0, 65535)) if managed else None
    with session.SlotLock(), Terminal() as terminal, Output() as output:
        leave = ", Ctrl-A x leaves" if terminal.raw else ""
        print(f"Starting {kind.name} ({machine.cpus} CPUs, {machine.memory} MiB{leave})\r",
              file=sys.stderr, flush=True)
        if kind is emulator.QemuTcg:
            reason = "" if setting("MACHINE") else "The host offers neither VT-x nor AMD-V. "
            print(f"{reason}MACHINE=bochs shows VT-x instead, several times slower\r", file=sys.stderr, flush=True)
        if management:
            print(f"virsh -c {management.uri}\r", file=sys.stderr, flush=True)
        machine.start()
        try:
            return interact(session.Session(machine, output.write), terminal, timeout, management)
        finally:
            machine.stop()


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, interrupted)
    out = setting("OUT", "out")
    runs = os.path.abspath(os.path.join(out, "run"))
    os.makedirs(runs, exist_ok=True)
    directory = tempfile.mkdtemp(dir=runs)
    try:
        status, message = run(directory, out)
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    except (ValueError, RuntimeError, OSError, emulator.EmulatorError) as error:
        status, message = 1, str(error)
    keep_log(directory, out)
    if message:
        print(f"\nmake run: {message}; the whole log is {out}/run/serial.log", file=sys.stderr)
    if not message and not setting("KEEP"):
        shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
