# SPDX-License-Identifier: BSD-2-Clause
"""`make selftests-table`: docs/kvm-selftests.md from the rows that `make selftests` has left in OUT/selftests for both
hosts, and from tests/selftests/reasons, which says why a row is no pass or differs. Ends with 1 where one has no reason."""

import os
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs/kvm-selftests.md"
MACHINES = {"bochs": "VT-x, in Bochs", "tcg": "AMD-V, in QEMU TCG"}
ROW = re.compile(r"^(\w+) +(pass|skip|fail|time-out) +(\d+) *(.*)$")
HEAD = """# Linux's KVM selftests

The tests of Linux 6.1's `tools/testing/selftests/kvm`, unmodified, on Ashlar and on Linux's own KVM (Debian's cloud kernel,
nested virtualization off) in the same machine. Made by `make selftests-table` from what `make selftests MACHINE=…` and
`make selftests MACHINE=… HOST=linux` left; heavy tests get smaller sizes by their own options, and Ashlar's rseq_test in Bochs
has four CPUs: on two, the vCPU runs only while the thread that moves it sleeps, just once in two moves (`tests/machine/selftests.py`).
Ticks are the machine's TSC from the test's start to its end: instructions in Bochs, the emulating host's time in QEMU TCG.
"""


def rows(path):
    """{test: (result, ticks, why)}, nothing where there was no run."""
    if not path.exists():
        return {}
    return {found.group(1): found.group(2, 3, 4) for found in map(ROW.match, path.read_text().splitlines()) if found}


def reasons():
    """{test: reason}; a line of tests/selftests/reasons is `test: reason`, or `machine test: reason` for one machine."""
    lines = (HERE / "reasons").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith("#"))


def section(machine, directory, why):
    """Lines of one machine's table, and the tests that lack a reason."""
    ashlar, linux = (rows(directory / f"{host}-{machine}.rows") for host in ("ashlar", "linux"))
    lines = ["", f"## {MACHINES[machine]}", "", "| test | Ashlar | ticks | Linux 6.1 | ticks | |", "|---|---|---:|---|---:|---|"]
    unexplained = []
    for name in sorted(set(ashlar) | set(linux)):
        result, ticks, _ = ashlar.get(name, ("-", "0", ""))
        other, other_ticks, _ = linux.get(name, ("-", "0", ""))
        reason = why.get(f"{machine} {name}", why.get(name, ""))
        if result == other == "pass":
            reason = ""
        elif not reason:
            unexplained.append(f"{machine} {name}")
        lines.append(f"| {name} | {result} | {int(ticks):,} | {other} | {int(other_ticks):,} | {reason} |".replace("- | 0", "- |"))
    results = [[table[name][0] for name in table] for table in (ashlar, linux)]
    lines += ["", "; ".join(f"{host}: " + ", ".join(f"{found.count(result)} {result}" for result in
                                                    ("pass", "skip", "fail", "time-out"))
                            for host, found in zip(("Ashlar", "Linux"), results)) + "."]
    return lines, unexplained


def main():
    directory = pathlib.Path(os.environ.get("OUT") or "out") / "selftests"
    why, text, missing = reasons(), HEAD.splitlines(), []
    for machine in MACHINES:
        lines, unexplained = section(machine, directory, why)
        text += lines
        missing += unexplained
    DOCUMENT.write_text("\n".join(text) + "\n")
    for name in missing:
        print(f"no reason in tests/selftests/reasons: {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
