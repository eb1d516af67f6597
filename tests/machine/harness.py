# SPDX-License-Identifier: BSD-2-Clause
"""Machine tests: each case boots Ashlar in an emulator, talks to its console and checks what it says.

A case is a function with the decorator @case in a module under cases/; it gets a Test and fails by raising Failure."""

import os
import re
import shutil
import subprocess
import time

import boot_disk
import emulator
import session

CASES = []
TAIL = 15  # last serial lines shown for a failure
SAMPLES = 4  # of where the CPUs are, of a machine that still runs then
KERNEL = 0xffffffff80000000  # what the kernel is linked to (linker.ld)
BOOT = 240  # seconds that a boot in Bochs may take on a busy machine


class Failure(Exception):
    """A case's check did not hold."""


class Case:
    def __init__(self, name, machine, function):
        self.name = name
        self.machine = machine
        self.function = function


def case(name, machine=""):
    """Registers a case. MACHINE as in make run; without it the case runs on both back ends, VT-x and AMD-V."""

    def register(function):
        if machine:
            CASES.append(Case(name, machine, function))
        else:
            CASES.append(Case(f"{name} [VT-x]", emulator.with_vmx(), function))
            CASES.append(Case(f"{name} [AMD-V]", "tcg", function))
        return function

    return register


class Test:
    """One running case: at most one machine at a time."""

    def __init__(self, out, item):
        self.out = out
        self.machine_name = item.machine
        self.directory = os.path.join(os.path.abspath(out), "test",
                                      re.sub(r"[^a-zA-Z0-9]+", "-", item.name).strip("-"))
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.emulator = None
        self.session = None
        self._position = 0

    # Starting --------------------------------------------------------------------------------------------------------

    def boot(self, program=None, args="", files=(), guest=False, cpus=2, memory=512, config=None,
             replace=None, initrd=None):
        """Boots with PROGRAM (path on the host) and FILES, or to the guest. CONFIG: more lines of ashlar.conf as a
        dictionary, or its whole text; REPLACE as boot_disk.make_image takes it; INITRD instead of the usual one."""
        if not isinstance(config, str):
            settings = {"program": f"/work/{os.path.basename(program)}" if program else None,
                        "args": args}
            settings.update(config or {})
            config = boot_disk.make_config(settings)
        if initrd is None:
            initrd = boot_disk.make_initrd(self.out, program, files, guest)
        root = os.path.join(self.out, "guest/root")
        image = boot_disk.make_image(self.directory, self.out, initrd, config, replace, root if guest else None)
        self.emulator = emulator.choose(self.machine_name)(self.directory, image, cpus, memory)
        self.emulator.start()
        self.session = session.Session(self.emulator)
        self._position = 0

    def close(self):
        if self.emulator is not None:
            self.emulator.stop()
        for name in os.listdir(self.directory):  # the logs stay
            if name.endswith((".img", ".cpio", ".elf", ".EFI")):
                os.unlink(os.path.join(self.directory, name))

    # Talking ---------------------------------------------------------------------------------------------------------

    def log(self):
        return self.session.log.decode(errors="replace").replace("\r", "") if self.session else ""

    def expect(self, pattern, timeout=BOOT, anywhere=False):
        """Waits until PATTERN (a regular expression, MULTILINE) appears after what earlier calls matched, or ANYWHERE in
        the log. Returns the match."""
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        while True:
            text = self.log()
            # A line still being written may match too early.
            found = expression.search(text, 0 if anywhere else self._position)
            if found:
                self._position = max(self._position, found.end())
                return found
            if self.session.ended():
                raise Failure(f"the run ended without /{pattern}/")
            if time.monotonic() > deadline:
                raise Failure(f"no /{pattern}/ within {timeout} seconds")
            self.session.step(0.25)

    def send(self, text):
        self.session.send(text.encode())

    def wait_end(self, timeout=BOOT):
        """Waits for the machine's end. Returns the exit status `make run` would have; a machine that died fails."""
        deadline = time.monotonic() + timeout
        while not self.session.ended():
            if time.monotonic() > deadline:
                raise Failure(f"the machine is not off after {timeout} seconds")
            self.session.step(0.25)
        status, message = self.session.verdict()
        if message:
            raise Failure(message)
        return status

    def check(self, condition, reason):
        if not condition:
            raise Failure(reason)

    def tail(self):
        return self.log().rstrip("\n").split("\n")[-TAIL:]

    def where(self):
        """Of a machine that still runs: lines that tell at what each CPU is, at a few moments."""
        if self.emulator is None or self.emulator.process is None or not self.emulator.running():
            return []
        samples = []
        try:
            for _ in range(SAMPLES):
                samples.append(self.emulator.instruction_pointers())
                time.sleep(0.2)
        except OSError:  # it has ended meanwhile
            pass
        return [f"CPU {cpu} is at " + ", ".join(self._place(address) for address in places)
                for cpu, places in enumerate(zip(*samples))]

    def _place(self, address):
        if address < KERNEL:
            return "a program or a guest"
        command = ["addr2line", "-sfe", os.path.join(self.out, "kernel.debug"), hex(address)]
        place = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        return " ".join(place[:2]) or hex(address)


def run_case(out, item):
    """Runs one case. Returns (reason or None, the last serial lines)."""
    test = Test(out, item)
    try:
        with session.SlotLock():
            item.function(test)
        return None, []
    except Failure as failure:
        return str(failure), test.tail() + test.where()
    except Exception as error:  # pylint: disable=broad-except  # a command's end or time-out too: the others run on
        return f"{type(error).__name__}: {error}", test.tail() + test.where()
    finally:
        test.close()
