# SPDX-License-Identifier: BSD-2-Clause
"""A cpio archive in the newc format, the initrd's."""

import os
import stat


class Archive:
    """Collects entries; parents of a path are made as directories on the way."""

    def __init__(self):
        self._parts = []
        self._names = set()
        self._size = 0
        self._inode = 0

    def _append(self, data):
        padding = -(self._size + len(data)) % 4
        self._parts.append(data + b"\0" * padding)
        self._size += len(data) + padding

    def _entry(self, name, mode, content):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(content),
                  0, 0, 0, 0, len(encoded), 0)
        self._append(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self._append(content)

    def directory(self, name):
        name = name.strip("/")
        if not name or name in self._names:
            return
        self.directory(os.path.dirname(name))
        self._names.add(name)
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, content, mode=0o644):
        name = name.strip("/")
        if name in self._names:
            raise ValueError(f"{name} is in the initrd twice")
        self.directory(os.path.dirname(name))
        self._names.add(name)
        self._entry(name, stat.S_IFREG | mode, content)

    def file_from(self, name, path):
        """The file PATH of the host, executable where it is so there."""
        with open(path, "rb") as source:
            content = source.read()
        self.file(name, content, 0o755 if os.access(path, os.X_OK) else 0o644)

    def tree_from(self, name, path):
        """The file or directory PATH of the host under NAME."""
        if not os.path.isdir(path):
            self.file_from(name, path)
            return
        self.directory(name)
        for child in sorted(os.listdir(path)):
            self.tree_from(f"{name}/{child}", os.path.join(path, child))

    def bytes(self):
        trailer = b"TRAILER!!!\0"
        fields = (0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(trailer), 0)
        end = b"070701" + b"".join(b"%08x" % field for field in fields) + trailer
        data = b"".join(self._parts) + end
        return data + b"\0" * (-len(data) % 512)
