# SPDX-License-Identifier: BSD-2-Clause
"""A machine of two NUMA nodes: what SRAT and SLIT say is what programs get."""

import os

from harness import case


@case("NUMA: two nodes", "numa")
def two_nodes(test):
    test.boot(program=os.path.join(test.out, "tests/numa"), args="2")
    test.check(test.wait_end() == 0, "the program failed")
