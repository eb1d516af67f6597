# SPDX-License-Identifier: BSD-2-Clause
"""A run of Ashlar in an emulator: the serial log from the loader's first line on, input, and how it ended."""

import errno
import fcntl
import os
import re
import select
import time

FIRST_LINE = b"Ashlar loader"
# Not at the start of a line only: a program's last line need not have ended.
EXITED = re.compile(rb"init: [^\r\n]* exited with (\d+)")
PANIC = re.compile(rb"panic: [^\r\n]*")
# Input before init runs would be the firmware's: its boot menu reads the serial line too.
READY = re.compile(rb"^init: ", re.MULTILINE)
# The kernel runs the UART without its FIFO: an emulator then takes a byte only when the last one has been read, and what
# waits stays in the socket. Written in small chunks, so that the rest waits here and can be counted.
CHUNK = 64
AFTER_PANIC = 3  # seconds of silence that end a run after a panic


class SlotLock:
    """Holds one of a few emulator slots of a shared machine, where ASHLAR_EMULATOR_LOCK names files (with `:` between)."""

    def __init__(self):
        self.descriptor = None

    def __enter__(self):
        paths = [path for path in os.environ.get("ASHLAR_EMULATOR_LOCK", "").split(":") if path]
        while paths:
            for path in paths:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.descriptor = descriptor
                    return self
                except OSError as error:
                    os.close(descriptor)
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        raise
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        if self.descriptor is not None:
            os.close(self.descriptor)


class Session:
    """Owns a started emulator's serial line. `on_output` gets what Ashlar prints; `log` has all of it."""

    def __init__(self, emulator, on_output=None, first_line=FIRST_LINE):
        self.emulator = emulator
        self.on_output = on_output
        self.log = bytearray()       # from the loader's first line on
        self.closed = False
        self.panicked = None         # time of the last output after a panic
        self._raw = open(emulator.path("serial.log"), "wb", buffering=0)
        self._first_line = first_line
        self._seen_first_line = not first_line
        self._head = bytearray()
        self._input = bytearray()
        self._ready = False
        self._scanned = 0

    # Input -----------------------------------------------------------------------------------------------------------

    def send(self, data):
        """Queues input; it is written as the machine takes it."""
        self._input += data

    def ready(self):
        """Whether init runs."""
        return self._ready

    def backlog(self):
        return len(self._input)

    def _can_write(self):
        return bool(self._input) and self._ready and not self.closed

    def _write(self):
        try:
            sent = self.emulator.serial.send(self._input[:CHUNK])
        except BlockingIOError:
            return
        except OSError:
            self.closed = True
            return
        del self._input[:sent]

    # Output ----------------------------------------------------------------------------------------------------------

    def _read(self):
        try:
            data = self.emulator.serial.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        self._raw.write(data)
        self._take(data)

    def _take(self, data):
        if not self._seen_first_line:
            self._head += data
            at = self._head.find(self._first_line)
            if at < 0:
                del self._head[:-len(self._first_line)]
                return
            self._seen_first_line = True
            data = bytes(self._head[at:])
        self.log += data
        if self.on_output:
            self.on_output(data)
        if not self._ready and READY.search(self.log, self._scanned):
            self._ready = True
        if self.panicked is not None or PANIC.search(self.log, self._scanned):
            self.panicked = time.monotonic()
        self._scanned = self.log.rfind(b"\n") + 1

    # The loop --------------------------------------------------------------------------------------------------------

    def step(self, timeout, extra=()):
        """Waits for something to happen, at most TIMEOUT seconds, and handles it. Returns those of the descriptors EXTRA
        that are readable."""
        serial = self.emulator.serial
        serial.setblocking(False)
        reading = list(extra) + ([] if self.closed else [serial])
        readable, writable, _ = select.select(
            reading, [serial] if self._can_write() else [], [], timeout)
        if serial in readable:
            self._read()
        if serial in writable:
            self._write()
        return [item for item in readable if item is not serial]

    def ended(self):
        """Whether there is nothing more to come: the machine is off, or a panic has been followed by silence."""
        if self.panicked is not None and time.monotonic() - self.panicked > AFTER_PANIC:
            return True
        return self.closed and self._wait_for_process()

    def _wait_for_process(self):
        deadline = time.monotonic() + 60
        while self.emulator.running() and time.monotonic() < deadline:
            time.sleep(0.02)
        return True

    def verdict(self):
        """(exit status, message or None) of a run that has ended."""
        panic = PANIC.search(self.log)
        exits = EXITED.findall(self.log)
        if panic and not (self.closed and self.emulator.powered_off()):
            return 1, "Ashlar panicked: " + panic.group(0).decode(errors="replace").strip()
        if exits:
            return int(exits[-1]) & 0xff, None
        if self.emulator.running():
            return 1, "the serial line closed but the emulator did not end"
        if self.emulator.powered_off():
            return 0, None
        return 1, f"the machine died: {self.emulator.cause_of_death()}"
