# SPDX-License-Identifier: BSD-2-Clause
"""Timers far apart, in a machine whose clock skips the time that nobody uses."""

import os

from harness import case


@case("time: a day of a guest's timers", "skip")
def a_day(test):
    test.boot(program=os.path.join(test.out, "tests/shares"), args="'a day'")
    test.check(test.wait_end(600) == 0, "the program failed")
