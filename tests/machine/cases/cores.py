# SPDX-License-Identifier: BSD-2-Clause
"""Core scheduling in a machine whose cores have two hyper-threads. That no two processes share a core is the simulator's
to prove; here everything must still get its turn."""

import os

from harness import case


def run(test, program):
    test.boot(program=os.path.join(test.out, "tests", program), cpus=4, config={"cores": "separate"})
    test.check(test.wait_end(600) == 0, f"{program} failed")


@case("cores = separate: threads", "threads")
def threads(test):
    run(test, "threads")


@case("cores = separate: two guests", "threads")
def two_guests(test):
    run(test, "twoguests")
