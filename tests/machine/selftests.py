# SPDX-License-Identifier: BSD-2-Clause
"""`make selftests`: Linux's KVM selftests in one boot (CPUS: another), a row each (tests/selftests/suite.c).

TESTS names some of them; LIMIT is the seconds of the machine's clock that each may take (some need more, LIMITS);
HOST=linux runs them on Linux's own KVM in the same machine. A test that brings the machine down gets its row, and the rest
go on after another boot. The rows are kept in OUT/selftests/HOST-MACHINE.rows, from which tests/selftests/table.py makes
docs/kvm-selftests.md."""

import os
import re
import shutil
import sys
import tempfile
import time

import boot_disk
import emulator
import linux_host
import run
import session

# Heavy tests, made smaller by their own options where they have such.
OPTIONS = {
    "access_tracking_perf_test": ["-b", "4M"],
    "demand_paging_test": ["-b", "8M"],
    "dirty_log_test": ["-i", "3"],
    "dirty_log_perf_test": ["-b", "8M", "-i", "2"],
    "hardware_disable_test": [],
    "kvm_page_table_test": ["-b", "16M"],
    "max_guest_memory_test": ["-m", "1", "-s", "1", "-c", "1"],
    "memslot_modification_stress_test": ["-b", "4M", "-i", "20"],
    "memslot_perf_test": ["-l", "1", "-s", "10"],
}
LIMIT = "180"
# Seconds of those that need more: in Bochs three parts of this one fill 512 MiB byte by byte, 48 seconds each.
LIMITS = {"memslot_perf_test": 400}
# CPUs of the machine where two are too few: this one moves a vCPU's thread from another thread, which on two CPUs is
# always in its way, and wants half as many runs as moves.
CPUS = {"rseq_test": 4}
MEMORY = 1536
BOOT = 300  # seconds until the first row's test may have begun
# Seconds of ours for one of the machine's, at most: an emulator beside others is slow.
SLOWNESS = 4
ROW = re.compile(r"^(\w+) +(pass|skip|fail|time-out) +(\d+) *(.*)$")


def available(directory):
    """The heavy ones come last."""
    names = (name for name in os.listdir(directory)
             if os.access(os.path.join(directory, name), os.X_OK) and not name.startswith("."))
    return sorted(names, key=lambda name: (name in OPTIONS, name))


class Ashlar:
    name = "ashlar"

    @staticmethod
    def image(directory, kind, out, words, files):
        del kind
        program = os.path.join(out, "tests", "suite")
        config = boot_disk.make_config({"program": "/work/suite", "args": " ".join(words)})
        return boot_disk.make_image(directory, out, boot_disk.make_initrd(out, program, files, guest=False), config)


class Linux:
    """Debian's kernel with the suite as its first process."""
    name = "linux"

    @staticmethod
    def image(directory, kind, out, words, files):
        return linux_host.make_image(directory, kind, out, os.path.join(out, "tests", "suite"), files, words)


HOSTS = {host.name: host for host in (Ashlar, Linux)}


class Rows:
    """What the suite says on the serial line, a row for each test; those of other tests stay in the file PATH."""

    def __init__(self, path):
        self.results = {}
        self.last = time.monotonic()
        self._path = path
        self._pending = ""
        self._lines = {}
        if os.path.exists(path):
            with open(path) as old:
                self._lines = {line.split()[0]: line for line in old}

    def feed(self, data):
        *lines, self._pending = (self._pending + data.decode(errors="replace")).split("\n")
        for line in lines:
            found = ROW.match(line.strip())
            if found:
                self.add(found.group(1), *found.group(2, 3, 4))

    def add(self, name, result, ticks, why):
        self.results[name] = result
        self.last = time.monotonic()
        self._lines[name] = f"{name:34} {result:8} {ticks:>14}  {why}".rstrip() + "\n"
        print(self._lines[name], end="", flush=True)
        with open(self._path, "w") as keep:
            keep.writelines(self._lines[name] for name in sorted(self._lines))


def boot(host, kind, out, tests, limit, rows):
    """Runs TESTS, in need of as many CPUs each, until all have their row or the machine is no more. Returns why it ended
    early, or None."""
    runs = os.path.abspath(os.path.join(out, "run"))
    os.makedirs(runs, exist_ok=True)
    directory = tempfile.mkdtemp(dir=runs)
    limits = [max(limit, LIMITS.get(name, 0)) for name in tests]
    words = [str(limit)] + [",".join([f"{limits[i]}:./{name}"] + OPTIONS.get(name, [])) for i, name in enumerate(tests)]
    files = [os.path.join(out, "selftests", name) for name in tests]
    machine = kind(directory, host.image(directory, kind, out, words, files),
                   run.number("CPUS", CPUS.get(tests[0], 2), 1, 64),
                   run.number("SELFTEST_MEMORY", MEMORY, 256, 1 << 20))
    if host is Linux:
        machine.firmware = machine.bios
    with session.SlotLock():
        machine.start()
        try:
            # Linux has no first line of its own: all counts.
            line = session.Session(machine, rows.feed, b"" if host is Linux else session.FIRST_LINE)
            begun = rows.last = time.monotonic()
            while not line.ended():
                line.step(0.25)
                patience = max(limits) * SLOWNESS + (BOOT if rows.last == begun else 0)
                if time.monotonic() - rows.last > patience:
                    return f"nothing for {patience} seconds"
            return line.verdict()[1] if host is Ashlar else None
        finally:
            machine.stop()
            shutil.copyfile(os.path.join(directory, "serial.log"), os.path.join(out, "run/serial.log"))
            if not run.setting("KEEP"):
                shutil.rmtree(directory, ignore_errors=True)


def main():
    out = run.setting("OUT", "out")
    directory = os.path.join(out, "selftests")
    host = HOSTS[run.setting("HOST", "ashlar")]
    kind = emulator.choose(run.setting("MACHINE"))
    machine = next(name for name, value in emulator.MACHINES.items() if value is kind)
    limit = int(run.setting("LIMIT", LIMIT))
    left = run.setting("TESTS").split() or available(directory)
    rows = Rows(os.path.join(directory, f"{host.name}-{machine}.rows"))
    while left:
        together = [test for test in left if CPUS.get(test) == CPUS.get(left[0])]
        reason = boot(host, kind, out, together, limit, rows)
        missing = [test for test in together if test not in rows.results]
        if missing:
            rows.add(missing[0], "fail", 0, f"the machine is down: {reason or 'it ended'}")
        left = [test for test in left if test not in rows.results]
    results = list(rows.results.values())
    print(", ".join(f"{results.count(result)} {result}" for result in ("pass", "skip", "fail", "time-out")))
    return 0 if set(results) <= {"pass", "skip"} else 1


if __name__ == "__main__":
    sys.exit(main())
