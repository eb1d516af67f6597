# SPDX-License-Identifier: BSD-2-Clause
"""What the log says of a device that reaches for memory that is not its own."""

import os

from harness import case


@case("IOMMU: a device is stopped and reported", "vtd")
def reported(test):
    test.boot(program=os.path.join(test.out, "tests/vfio"))
    test.expect(r"IOMMU: VT-d, units: 1, .*, interrupt remapping")
    test.expect(r"IOMMU: device 0000:00:..\.0 was stopped: writing to 100000 is not its own")
    test.check(test.wait_end() == 0, "the program failed")
