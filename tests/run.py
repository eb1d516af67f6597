# SPDX-License-Identifier: BSD-2-Clause
"""`make test`: lint, unit tests, short fuzzer runs, the simulator and machine tests; the last line counts them all."""

import concurrent.futures
import os
import re
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "machine"))
import test as machine_tests  # noqa: E402  (after the path is set)

FUZZ_RUNS = 50000
FUZZ_SECONDS = {"fuzz_decoder_oracle": 300}  # 12.8 million byte strings, whatever the machine's speed


class Totals:
    """Counts, and prints each result as one piece: parts of the run go side by side."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self._lock = threading.Lock()

    def add(self, name, good, output=""):
        self.count(int(good), int(not good), f"ok {name}" if good else f"FAIL {name}")
        if not good:
            self.count(0, 0, *(f"    | {line}" for line in output.rstrip("\n").split("\n")[-40:]))

    def count(self, passed, failed, *lines):
        with self._lock:
            self.passed += passed
            self.failed += failed
            for line in lines:
                print(line)
            sys.stdout.flush()


def execute(*command):
    # A make below this one has its own jobs.
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    return done.returncode, done.stdout


def lint(totals):
    status, output = execute(os.environ.get("MAKE", "make"), "--no-print-directory", "-k",
                             f"-j{os.cpu_count()}", "lint")
    totals.add("lint", status == 0, output)


def unit(totals, out):
    status, output = execute(os.path.join(out, "unit/unit"))
    summary = re.search(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", output)
    if not summary:
        totals.add("unit tests", False, output)
        return
    checks, failures, errors = map(int, summary.groups())
    passed = checks - failures - errors
    totals.count(passed, checks - passed, f"unit tests: {passed} of {checks} pass")
    if status != 0:
        totals.count(0, 0, output)


def fuzzers(out):
    directory = os.path.join(out, "fuzz")
    paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.startswith("fuzz_")]
    return [path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)]


def fuzz(totals, path):
    name = os.path.basename(path)
    status, output = execute(path, "-seed=1", f"-runs={FUZZ_RUNS}", f"-max_total_time={FUZZ_SECONDS.get(name, 30)}",
                             f"-artifact_prefix={os.path.dirname(path)}/")
    totals.add(name, status == 0, output)


def simulator(totals, out):
    directory = os.path.join(out, "simulator")
    _, output = execute(os.path.join(directory, "simulator"), directory)
    summary = re.search(r"(\d+) checks, (\d+) failures", output)
    if not summary:
        totals.add("simulator", False, output)
        return
    checks, failures = map(int, summary.groups())
    totals.count(checks - failures, failures, f"simulator: {checks - failures} of {checks} pass",
                 *(line for line in output.split("\n") if line.startswith(("  ", "FAIL"))))


def model(totals, out):
    """Lines of `ok` or `FAIL`, a name, and what was found."""
    _, output = execute(sys.executable, os.path.join(HERE, "models/check.py"), os.path.join(out, "models"))
    rows = re.findall(r"^(ok|FAIL) (\S+): (.*)", output, re.MULTILINE)
    for verdict, name, found in rows:
        totals.add(f"model {name}: {found}", verdict == "ok", output)
    if not rows:
        totals.add("model", False, output)


def main():
    out = os.environ.get("OUT") or "out"
    totals = Totals()
    lint(totals)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = [pool.submit(unit, totals, out), pool.submit(simulator, totals, out),
                 pool.submit(model, totals, out)]
        parts += [pool.submit(fuzz, totals, path) for path in fuzzers(out)]
        for part in parts:
            part.result()
    totals.count(*machine_tests.run_all())
    print(f"{totals.passed} passed, {totals.failed} failed")
    return 0 if totals.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
