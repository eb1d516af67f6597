# SPDX-License-Identifier: BSD-2-Clause
"""The emulator's COM2 as an address for libvirt's clients."""

import os
import sys
import threading

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../guest-tools"))

import libvirt_serial_mux  # noqa: E402


class Management:
    """Takes connections at once; start() passes them on, which must wait until the firmware no longer listens on COM2."""

    def __init__(self, port=0):
        self.listener = libvirt_serial_mux.listen_tcp("127.0.0.1", port)
        self.port = self.listener.getsockname()[1]
        self.uri = f"qemu+tcp://127.0.0.1:{self.port}/system"
        self._thread = None

    def start(self, line):
        if self._thread is None:
            line.setblocking(False)
            self._thread = threading.Thread(target=self._loop, args=(line,), daemon=True)
            self._thread.start()

    def _loop(self, line):
        mux = libvirt_serial_mux.Mux(line, [self.listener])
        try:
            while mux.step(1):
                pass
        except (OSError, ValueError):
            pass  # the machine is off
        for client in mux.clients:  # who waits for an answer learns of it
            client.connection.close()
        self.listener.close()
