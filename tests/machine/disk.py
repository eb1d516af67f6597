# SPDX-License-Identifier: BSD-2-Clause
"""A disk image: GPT (UEFI 2.10 chapter 5) with an EFI system partition, FAT32, and perhaps one for a guest, ext4; made
without root by mtools and mke2fs."""

import os
import struct
import subprocess
import uuid
import zlib

SECTOR = 512
MIB = 1 << 20
PARTITION_START = MIB // SECTOR
ENTRY_COUNT = 128
ENTRY_SIZE = 128
TABLE_SECTORS = ENTRY_COUNT * ENTRY_SIZE // SECTOR
MKE2FS = "/usr/sbin/mke2fs"
LINUX_FILES = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
FAT32_MINIMUM = 40 * MIB  # more than 65525 clusters of one sector each
GUEST_SIZE = 32 * MIB
GEOMETRY = 16 * 63 * SECTOR  # a whole number of cylinders, as Bochs wants it


def _header(own, other, table, last, disk, table_crc):
    fields = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other,
                         2 + TABLE_SECTORS, last - 1 - TABLE_SECTORS, disk.bytes_le, table,
                         ENTRY_COUNT, ENTRY_SIZE, table_crc)
    fields = fields[:16] + struct.pack("<I", zlib.crc32(fields)) + fields[20:]
    return fields.ljust(SECTOR, b"\0")


def _write_gpt(image, sectors, partitions):
    """PARTITIONS: (type, label, first sector, last sector) of each."""
    last = sectors - 1
    table = b"".join(struct.pack("<16s16sQQQ72s", kind.bytes_le, uuid.uuid4().bytes_le, first, end, 0,
                                 label.encode("utf-16-le"))
                     for kind, label, first, end in partitions).ljust(ENTRY_COUNT * ENTRY_SIZE, b"\0")
    crc = zlib.crc32(table)
    disk = uuid.uuid4()
    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xee, b"\xff\xff\xff", 1,
                             min(last, 0xffffffff))
    image.seek(0)
    image.write(b"\0" * 446 + protective + b"\0" * 48 + b"\x55\xaa")
    image.write(_header(1, last, 2, last, disk, crc) + table)
    image.seek((last - TABLE_SECTORS) * SECTOR)
    image.write(table + _header(last, 1, last - TABLE_SECTORS, last, disk, crc))


def _mtools(*command, **keywords):
    environment = dict(os.environ, MTOOLS_SKIP_CHECK="1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                          **keywords)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")


def make(path, files, guest=None):
    """Writes the image PATH whose system partition holds FILES, {path on the volume: path on the host}, and whose partition
    "guest" holds what the directory GUEST does."""
    content = sum(os.path.getsize(source) + 4096 for source in files.values())
    system = max(content + content // 16 + MIB, FAT32_MINIMUM)
    system += -system % MIB
    size = PARTITION_START * SECTOR + system + (GUEST_SIZE if guest else 0) + MIB
    size += -size % GEOMETRY
    guest_start = PARTITION_START + system // SECTOR
    partitions = [(EFI_SYSTEM, "Ashlar", PARTITION_START, guest_start - 1)]
    if guest:
        partitions.append((LINUX_FILES, "guest", guest_start, guest_start + GUEST_SIZE // SECTOR - 1))
    with open(path, "wb") as image:
        image.truncate(size)
        _write_gpt(image, size // SECTOR, partitions)
    if guest:
        subprocess.run([MKE2FS, "-q", "-F", "-t", "ext4", "-L", "guest", "-d", guest, "-E",
                        f"offset={guest_start * SECTOR},root_owner=0:0", path, f"{GUEST_SIZE >> 10}k"], check=True)
    drive = f"{path}@@{PARTITION_START * SECTOR}"
    _mtools("mformat", "-i", drive, "-F", "-c", "1", "-h", "16", "-s", "63", "-H",
            str(PARTITION_START), "-T", str(system // SECTOR), "-v", "ASHLAR",
            "::")
    _fill(drive, files)


def make_for_bios(path, files):
    """As make, for firmware that is no UEFI: one FAT16 volume from sector 0 on that SYSLINUX boots (syslinux.cfg)."""
    size = sum(os.path.getsize(source) for source in files.values()) * 9 // 8 + 16 * MIB
    size += -size % GEOMETRY
    with open(path, "wb") as image:
        image.truncate(size)
    _mtools("mformat", "-i", path, "-c", "16", "-h", "16", "-s", "63", "-T", str(size // SECTOR), "::")
    subprocess.run(["syslinux", "--install", path], check=True)
    _fill(path, files)


def _fill(drive, files):
    made = set()
    for name in files:
        parts = name.strip("/").split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            directory = "/".join(parts[:depth])
            if directory.lower() not in made:
                made.add(directory.lower())
                _mtools("mmd", "-i", drive, f"::/{directory}")
    for name, source in files.items():
        _mtools("mcopy", "-i", drive, source, f"::/{name.strip('/')}")
