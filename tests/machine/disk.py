# SPDX-License-Identifier: BSD-2-Clause
"""A disk image: GPT with one EFI system partition (UEFI 2.10 chapter 5), FAT32, made without root by mtools."""

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
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
FAT32_MINIMUM = 40 * MIB  # more than 65525 clusters of one sector each
GEOMETRY = 16 * 63 * SECTOR  # a whole number of cylinders, as Bochs wants it


def _header(own, other, table, last, disk, table_crc):
    fields = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other,
                         2 + TABLE_SECTORS, last - 1 - TABLE_SECTORS, disk.bytes_le, table,
                         ENTRY_COUNT, ENTRY_SIZE, table_crc)
    fields = fields[:16] + struct.pack("<I", zlib.crc32(fields)) + fields[20:]
    return fields.ljust(SECTOR, b"\0")


def _write_gpt(image, sectors, partition_end):
    last = sectors - 1
    entry = struct.pack("<16s16sQQQ72s", EFI_SYSTEM.bytes_le, uuid.uuid4().bytes_le,
                        PARTITION_START, partition_end, 0, "Ashlar".encode("utf-16-le"))
    table = entry.ljust(ENTRY_COUNT * ENTRY_SIZE, b"\0")
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


def make(path, files):
    """Writes the image PATH whose system partition holds FILES, {path on the volume: path on the host}."""
    content = sum(os.path.getsize(source) + 4096 for source in files.values())
    partition = max(content + content // 16 + MIB, FAT32_MINIMUM)
    size = PARTITION_START * SECTOR + partition + MIB
    size += -size % GEOMETRY
    sectors = size // SECTOR
    partition_end = sectors - 2 - TABLE_SECTORS - 1
    with open(path, "wb") as image:
        image.truncate(size)
        _write_gpt(image, sectors, partition_end)
    drive = f"{path}@@{PARTITION_START * SECTOR}"
    _mtools("mformat", "-i", drive, "-F", "-c", "1", "-h", "16", "-s", "63", "-H",
            str(PARTITION_START), "-T", str(partition_end - PARTITION_START + 1), "-v", "ASHLAR",
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
