# SPDX-License-Identifier: BSD-2-Clause
"""Whether the host's KVM offers VT-x or AMD-V to its guests. A /dev/kvm may exist and not do so."""

import fcntl
import os
import struct

KVM_GET_SUPPORTED_CPUID = 0xc008ae05
ENTRIES = 256
ENTRY_SIZE = 40
VMX = (1, 1 << 5)  # leaf, bit of ECX
SVM = (0x80000001, 1 << 2)


def _offers(features, path):
    try:
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        buffer = bytearray(struct.pack("<II", ENTRIES, 0) + b"\0" * (ENTRIES * ENTRY_SIZE))
        fcntl.ioctl(device, KVM_GET_SUPPORTED_CPUID, buffer)
    except OSError:
        return False
    finally:
        os.close(device)
    count = struct.unpack_from("<I", buffer)[0]
    for i in range(count):
        function, _, _, _, _, ecx, _ = struct.unpack_from("<7I", buffer, 8 + i * ENTRY_SIZE)
        if any(function == leaf and ecx & bit for leaf, bit in features):
            return True
    return False


def offers_vmx(path="/dev/kvm"):
    return _offers((VMX,), path)


def offers_virtualization(path="/dev/kvm"):
    return _offers((VMX, SVM), path)
