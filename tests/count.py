# SPDX-License-Identifier: BSD-2-Clause
"""`make count`: lines of code a directory, neither blank nor comment."""

import collections
import os
import re
import subprocess

C_LIKE = {".c", ".h", ".def", ".ld"}
HASH = {".py", ".sh", ".mk"}
C_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)


def code_lines(path):
    with open(path, errors="replace") as source:
        text = source.read()
    extension = os.path.splitext(path)[1]
    if extension in C_LIKE:
        # Strings stay, so that a `//` in one is no comment; comments keep their line breaks.
        text = C_COMMENT.sub(lambda found: found.group(0) if found.group(0)[0] in "\"'"
                             else "\n" * found.group(0).count("\n"), text)
    elif extension == ".asm":
        text = re.sub(r";[^\n]*", "", text)
    elif extension in HASH or os.path.basename(path) in ("Makefile", "run"):
        text = re.sub(r"(?m)^\s*#[^\n]*", "", text)
    else:
        return 0
    return sum(1 for line in text.split("\n") if line.strip())


def main():
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout.split("\n")
    counts = collections.Counter()
    for path in listing:
        if path and os.path.isfile(path):
            counts[os.path.dirname(path) or "."] += code_lines(path)
    for directory in sorted(counts):
        if counts[directory]:
            print(f"{counts[directory]:8} {directory}")
    print(f"{sum(counts.values()):8} total")


if __name__ == "__main__":
    main()
