#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Stands in for vmm where there is no /dev/kvm: its control socket (guest-tools/vmm/control.h), and a console that echoes.

A kernel named `missing` cannot be opened; one named `lingering` goes on for a while when its process is killed. The request
`end EVENT` ends the machine with that event, `die` without one; after `hang` nothing is answered, `hang-up` closes the
connections of those who hear of events; `channel-opened NAME` and `channel-closed NAME` are such events, after `fail` a
request of the first disk's has failed. What is to be unplugged goes at once."""

import array
import os
import re
import selectors
import signal
import socket
import sys
import threading
import time

SCROLL_BACK = b"".join(b"line %d of the guest's\r\n" % number for number in range(40))


class Monitor:
    def __init__(self, arguments):
        self.options = {arguments[i]: arguments[i + 1] for i in range(len(arguments) - 1) if arguments[i].startswith("--")}
        self.state = "paused" if "--paused" in arguments else "running"
        self.cpus, self.most = map(int, re.fullmatch(r"boot=(\d+),max=(\d+)", self.options["--cpus"]).groups())
        self.devices = set(re.findall(r"\bid=([^, ]+)", " ".join(arguments)))
        self.file = None
        self.channels, self.errors = set(), 0
        self.memory = self.balloon = int(self.options["--memory"].removesuffix("K")) * 1024
        self.received, self.listening, self.consoles = {}, [], set()
        self.selector = selectors.DefaultSelector()

    def event(self, name):
        for client in self.listening:
            client.sendall(f"event {name}\n".encode())

    def end(self, name):
        if name:
            self.event(name)
        sys.exit(0)

    def obey(self, client, line):
        """Returns the answer's lines, or None where the request is refused."""
        verb, _, argument = line.partition(" ")
        if verb == "info":
            return [f"state={self.state}", f"cpus={self.cpus}", f"memory={self.memory}"] + [
                f"vcpu.{i}.tid={os.getpid()}" for i in range(self.cpus)] + [f"device={name}" for name in self.devices] + [
                f"channel={name}" for name in self.channels]
        if verb == "statistics":
            return [f"vcpu.{i}.time={(i + 1) * 1000000000}\nvcpu.{i}.wait=5" for i in range(self.cpus)] + [
                f"block.0.wr.errors={self.errors}", f"balloon.current={self.balloon}", f"balloon.maximum={self.memory}"]
        if verb == "balloon":
            self.balloon = int(argument)
        elif verb == "cpus" and int(argument) <= self.most:
            if int(argument) < self.cpus:
                self.event(f"cpus {argument}")
            self.cpus = int(argument)
        elif verb in ("add-disk", "add-net"):
            if argument.startswith("path="):  # a disk's file comes with it
                path = argument.split("=")[1].split(",")[0]
                if self.file is None or os.readlink(f"/proc/self/fd/{self.file}") != path:
                    return None
            self.devices.add(argument.split("id=")[1])
            self.file = None
        elif verb == "remove-device" and argument == "vdk":  # a guest that keeps it
            self.event(f"device-removal-failed {argument}")
        elif verb == "remove-device" and argument in self.devices:
            self.devices.remove(argument)
            self.event(f"device-removed {argument}")
        elif verb == "events":
            self.listening.append(client)
        elif verb == "console":
            self.consoles.add(client)
        elif verb in ("pause", "resume"):
            self.state = {"pause": "paused", "resume": "running"}[verb]
            self.event(self.state.replace("running", "resumed"))
        elif verb in ("channel-opened", "channel-closed"):
            self.channels = {"channel-opened": {argument}, "channel-closed": set()}[verb]
            self.event(line)
        elif verb == "hang-up":
            for listener in self.listening:
                self.selector.unregister(listener)
                listener.close()
        elif verb == "fail":
            self.errors += 1
        elif verb == "reset":
            self.event("reboot")
        elif verb not in ("nmi", "power-button", "kill", "end", "die", "hang"):
            return None
        return []

    def serve_line(self, client, line):
        answer = self.obey(client, line)
        text = "error: unknown request\n" if answer is None else "".join(f"{row}\n" for row in answer + ["ok"])
        client.sendall(text.encode())
        verb, _, argument = line.partition(" ")
        if verb == "console":
            client.sendall(SCROLL_BACK)
        if verb == "hang":
            time.sleep(1000)
        ends = {"power-button": "powered-off", "kill": "killed", "end": argument, "die": None}
        if verb in ends:
            self.end(ends[verb])

    def receive(self, client):
        data, extra, _, _ = client.recvmsg(4096, socket.CMSG_SPACE(4))
        for _, kind, content in extra:
            if kind == socket.SCM_RIGHTS:
                self.file = array.array("i", content)[0]
        if not data:
            self.selector.unregister(client)
            self.listening = [other for other in self.listening if other is not client]
            client.close()
        elif client in self.consoles:
            client.sendall(b"echo: " + data)
        else:
            self.received[client] = self.received.get(client, b"") + data
            while client not in self.consoles and b"\n" in self.received[client]:
                line, self.received[client] = self.received[client].split(b"\n", 1)
                self.serve_line(client, line.decode())

    def run(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.options["--api-socket"])
        listener.listen(4)
        self.selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is listener:
                    self.selector.register(listener.accept()[0], selectors.EVENT_READ)
                else:
                    self.receive(key.fileobj)


def linger():
    """Goes on in a child, until some time after the parent."""
    if os.fork():
        signal.pause()

    def watch(parent=os.getppid()):
        while os.getppid() == parent:
            time.sleep(0.01)
        time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch).start()


if __name__ == "__main__":
    print("vmm: " + " ".join(sys.argv[1:]), flush=True)
    if "/missing" in sys.argv:
        sys.exit("vmm: cannot open /missing: No such file or directory")
    if "/lingering" in sys.argv:
        linger()
    Monitor(sys.argv[1:]).run()
