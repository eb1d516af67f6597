# SPDX-License-Identifier: BSD-2-Clause
"""`make selftests`: Linux's KVM selftests in one boot, a row each (tests/selftests/suite.c).

TESTS names some of them; LIMIT is the seconds of the machine's clock that each may take."""

import os
import sys

import run

# Heavy tests, made smaller by their own options.
OPTIONS = {
    "access_tracking_perf_test": ["-b", "4M"],
    "demand_paging_test": ["-b", "8M"],
    "dirty_log_test": ["-i", "3"],
    "dirty_log_perf_test": ["-b", "8M", "-i", "2"],
    "kvm_page_table_test": ["-b", "16M"],
    "max_guest_memory_test": ["-m", "1", "-s", "1", "-c", "2"],
    "memslot_modification_stress_test": ["-b", "4M", "-i", "20"],
    "memslot_perf_test": ["-l", "1", "-s", "1000"],
}
LIMIT = "60"


def available(directory):
    return sorted(name for name in os.listdir(directory)
                  if os.access(os.path.join(directory, name), os.X_OK) and not name.startswith("."))


def main():
    out = os.environ.get("OUT") or "out"
    directory = os.path.join(out, "selftests")
    tests = os.environ.get("TESTS", "").split() or available(directory)
    os.environ.update({
        "PROGRAM": os.path.join(out, "tests", "suite"),
        "ARGS": " ".join([os.environ.get("LIMIT") or LIMIT] +
                         [",".join([f"./{name}"] + OPTIONS.get(name, [])) for name in tests]),
        "FILES": " ".join(os.path.join(directory, name) for name in tests),
        "MEMORY": os.environ.get("SELFTEST_MEMORY") or "1536",
    })
    return run.main()


if __name__ == "__main__":
    sys.exit(main())
