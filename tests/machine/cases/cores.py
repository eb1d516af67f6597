# SPDX-License-Identifier: BSD-2-Clause
"""Core scheduling in a machine whose cores have two hyper-threads: who shares a core, and everything still gets its
turn."""

import os

from harness import case


def run(test, program, args="", cores="separate"):
    test.boot(program=os.path.join(test.out, "tests", program), args=args, cpus=4, config={"cores": cores})
    test.check(test.wait_end(600) == 0, f"{program} failed")


@case("cores = separate: no two processes share a core", "threads")
def separate(test):
    run(test, "cores", "separate")


@case("cookies of core scheduling", "threads")
def cookies(test):
    run(test, "cores", cores="shared")


@case("cores = separate: threads", "threads")
def threads(test):
    run(test, "threads")


@case("cores = separate: two guests", "threads")
def two_guests(test):
    run(test, "twoguests")
