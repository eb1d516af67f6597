# SPDX-License-Identifier: BSD-2-Clause
"""Runs the machine tests, two at a time; arguments select cases whose names contain one of them."""

import concurrent.futures
import importlib
import os
import sys
import threading

import harness

HERE = os.path.dirname(os.path.abspath(__file__))


def load_cases():
    for name in sorted(os.listdir(os.path.join(HERE, "cases"))):
        if name.endswith(".py") and not name.startswith("_"):
            importlib.import_module(f"cases.{name[:-3]}")


def run_all(selection=()):
    """Runs the selected cases and prints a line each. Returns (passed, failed)."""
    load_cases()
    out = os.environ.get("OUT") or "out"
    chosen = [item for item in harness.CASES
              if not selection or any(word in item.name for word in selection)]
    printing = threading.Lock()

    def run(item):
        reason, tail = harness.run_case(out, item)
        with printing:
            print(f"ok {item.name}" if reason is None else f"FAIL {item.name}: {reason}")
            for line in tail:
                print(f"    | {line}")
            sys.stdout.flush()
        return reason is None

    jobs = int(os.environ.get("JOBS") or 2)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(run, chosen))
    return results.count(True), results.count(False)


if __name__ == "__main__":
    PASSED, FAILED = run_all(sys.argv[1:])
    print(f"{PASSED} passed, {FAILED} failed")
    sys.exit(0 if FAILED == 0 and PASSED > 0 else 1)
