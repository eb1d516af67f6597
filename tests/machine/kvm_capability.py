# SPDX-License-Identifier: BSD-2-Clause
"""Whether the host's KVM offers VT-x to its guests. A /dev/kvm may exist and not do so."""

import fcntl
import os
import struct

KVM_GET_SUPPORTED_CPUID = 0xc008ae05
ENTRIES = 256
ENTRY_SIZE = 40
CPUID_1_ECX_VMX = 1 << 5


def offers_vmx(path="/dev/kvm"):
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
        if function == 1:
            return bool(ecx & CPUID_1_ECX_VMX)
    return False
