# SPDX-License-Identifier: BSD-2-Clause
"""Checks wake.pml with spin: the model must have no error, each of its broken variants must have one."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "wake.pml")


def variants():
    with open(MODEL, encoding="ascii") as model:
        return sorted(set(re.findall(r"^#ifn?def (BROKEN_\w+)", model.read(), re.MULTILINE)))


def errors(directory, variant):
    """How many errors the checker finds, and its report."""
    work = os.path.join(directory, variant or "model")
    os.makedirs(work, exist_ok=True)
    define = [f"-D{variant}"] if variant else []
    for command in (["spin", *define, "-a", MODEL],
                    ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"],
                    ["./pan", "-m10000", "-w24"]):
        done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode and command[0] != "./pan":
            return None, done.stdout
    found = re.search(r"errors: (\d+)", done.stdout)
    states = re.search(r"([\d.e+]+) states, stored", done.stdout)
    complete = "max search depth too small" not in done.stdout and states
    return (int(found.group(1)) if found and complete else None), done.stdout


def main():
    if len(sys.argv) != 2:
        print("usage: check.py DIRECTORY", file=sys.stderr)
        return 2
    failures = 0
    for variant in ["", *variants()]:
        count, report = errors(sys.argv[1], variant)
        good = count is not None and (count > 0) == bool(variant)
        failures += not good
        states = re.search(r"([\d.e+]+) states, stored", report)
        size = f", {float(states.group(1)):,.0f} states" if states else ""
        print(f"{'ok' if good else 'FAIL'} {variant or 'wake.pml'}: "
              f"{'an error is found' if count else 'no error'}{size}")
        if not good:
            print(report)
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
