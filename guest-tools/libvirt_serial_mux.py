#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lets several clients of libvirt share one serial line to virtd.

    libvirt_serial_mux.py LINE [--tcp HOST:PORT] [--unix PATH]

LINE is a terminal such as /dev/ttyUSB0, a Unix socket, or HOST:PORT; clients then use qemu+tcp://HOST:PORT/system or
qemu+unix:///system?socket=PATH, and Prometheus http://HOST:PORT/metrics. The line is one connection to virtd, which the mux
opens. It gives each call a serial number of its own, so that replies and streams find back to their clients; it answers
itself what concerns a connection, and takes back what a client that has gone leaves behind."""

import argparse
import os
import selectors
import socket
import struct
import sys
import termios
import time
import tty

REMOTE, KEEPALIVE = 0x20008086, 0x6B656570
PROGRAMS = (REMOTE, 0x20008087, 0x00068000, KEEPALIVE)
CALL, REPLY, MESSAGE, STREAM = 0, 1, 2, 3
OK, ERROR, CONTINUE = 0, 1, 2
OPEN, CLOSE, AUTH_LIST = 1, 2, 66
OPEN_STREAM = (201, 296)  # DOMAIN_OPEN_CONSOLE, DOMAIN_OPEN_CHANNEL
REGISTER_EVENT, DEREGISTER_EVENT, PING, PONG = 316, 317, 1, 2
HEADER = struct.Struct(">7I")  # length, program, version, procedure, type, serial, status
LENGTH_MAX = 33554436
NOT_OPEN = b"the connection is not open"
GREETING_RETRY = 1.0  # seconds until virtd is greeted anew
CHUNK = 4096
CLIENTS_MAX = 64
OUTPUT_MAX = 4 << 20   # a client that leaves that much unread is given up


def pack(procedure, kind, serial, status=OK, payload=b"", program=REMOTE):
    return HEADER.pack(HEADER.size + len(payload), program, 1, procedure, kind, serial, status) + payload


def plausible(header):
    length, program, version, _, kind, _, status = header
    return HEADER.size <= length <= LENGTH_MAX and program in PROGRAMS and version == 1 and kind <= 6 and status <= 2


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.input = bytearray()
        self.output = bytearray()
        self.events = set()  # callback ids that virtd gave it
        self.scrape = None   # bytes of the answer to an HTTP request that are still to come; -1: not known yet


class Mux:
    """`line` is a connected socket or a file object of a raw terminal, not blocking."""

    def __init__(self, line, listeners):
        self.line = line
        self.selector = selectors.DefaultSelector()
        self.selector.register(line, selectors.EVENT_READ)
        for listener in listeners:
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ)
        self.listeners = listeners
        self.clients = []
        self.received, self.waiting = bytearray(), bytearray()  # from virtd, for virtd
        self.greeted = None  # True once virtd has answered; else when it was greeted last
        self.scraping = []   # clients whose HTTP requests wait or are being answered, in order
        self.calls = {}      # our serial number: (client, its serial number, procedure)
        self.serial = 1

    # To virtd --------------------------------------------------------------------------------------------------------

    def greet(self):
        """The first two calls of every connection; until the second is answered clients wait."""
        now = time.monotonic()
        if self.greeted is True or (self.greeted is not None and now - self.greeted < GREETING_RETRY):
            return
        self.greeted = now
        self.received.clear()
        name = b"qemu:///system"
        self.waiting += pack(AUTH_LIST, CALL, 0)
        self.waiting += pack(OPEN, CALL, 1, payload=struct.pack(">II", 1, len(name)) + name + bytes(2) + bytes(4))

    def forward(self, client, header, message):
        _, program, _, procedure, kind, serial, status = header
        if program == KEEPALIVE:
            if procedure == PING:
                client.output += pack(PONG, MESSAGE, 0, program=KEEPALIVE)
            return
        if program == REMOTE and kind == CALL and procedure in (AUTH_LIST, OPEN, CLOSE):
            client.output += pack(procedure, REPLY, serial,
                                  payload=struct.pack(">II", 1, 0) if procedure == AUTH_LIST else b"")
            return
        if kind == CALL:
            self.serial += 1
            ours = self.serial
            self.calls[ours] = (client, serial, procedure)
        else:
            ours = self.find(client, serial, procedure)
            if ours is None:
                return
        self.waiting += HEADER.pack(len(message), program, 1, procedure, kind, ours, status) + message[HEADER.size:]

    def find(self, client, serial, procedure):
        for ours, call in self.calls.items():
            if call == (client, serial, procedure):
                return ours
        return None

    # From virtd ------------------------------------------------------------------------------------------------------

    def take_messages(self):
        while len(self.received) >= HEADER.size:
            if self.received.startswith(b"HTTP"):
                if not self.take_scrape():
                    return
                continue
            header = HEADER.unpack_from(self.received)
            if not plausible(header):
                del self.received[0]  # what came before virtd, or a byte was lost
                continue
            if len(self.received) < header[0]:
                return
            message = bytes(self.received[:header[0]])
            del self.received[:header[0]]
            self.deliver(header, message)

    def deliver(self, header, message):
        _, program, _, procedure, kind, serial, status = header
        if self.greeted is not True:
            if procedure == OPEN and kind == REPLY and status == OK:
                self.greeted = True
            return
        if kind == MESSAGE:
            callback, = struct.unpack_from(">I", message, HEADER.size) if len(message) > HEADER.size else (None,)
            for client in self.clients:
                if callback in client.events:
                    client.output += message
            return
        if kind == REPLY and status == ERROR and NOT_OPEN in message:
            # virtd has been started anew, and knows nobody any more.
            self.greeted = None
            self.calls.clear()
            for client in list(self.clients):
                client.events.clear()
                self.drop(client)
            return
        client, original, _ = self.calls.get(serial, (None, 0, 0))
        if client is None:
            if kind == REPLY and status == OK:  # to one that has gone meanwhile
                self.take_back(procedure, serial, message)
            return
        if kind == REPLY and status == OK and procedure == REGISTER_EVENT:
            client.events.add(struct.unpack_from(">I", message, HEADER.size)[0])
        if kind == REPLY and not (procedure in OPEN_STREAM and status == OK):
            del self.calls[serial]
        elif kind == STREAM and status != CONTINUE:
            del self.calls[serial]
        if client in self.clients:
            client.output += HEADER.pack(len(message), program, 1, procedure, kind, original, status)
            client.output += message[HEADER.size:]

    def take_back(self, procedure, serial, reply):
        """Ends in virtd what the call has begun."""
        if procedure == REGISTER_EVENT:
            self.serial += 1
            self.waiting += pack(DEREGISTER_EVENT, CALL, self.serial, payload=reply[HEADER.size:HEADER.size + 4])
        elif procedure in OPEN_STREAM:
            self.waiting += pack(procedure, STREAM, serial, ERROR)

    # Prometheus ------------------------------------------------------------------------------------------------------

    def ask_metrics(self, client):
        if b"\r\n\r\n" in client.input and client.scrape is None:
            client.scrape = -1
            self.scraping.append(client)
            self.waiting += bytes(client.input)

    def take_scrape(self):
        """False: more must come."""
        client = self.scraping[0] if self.scraping else None
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        fields = dict(line.lower().split(b":", 1) for line in bytes(self.received[:end]).split(b"\r\n")[1:] if b":" in line)
        length = end + 4 + int(fields.get(b"content-length", b"0"))
        if len(self.received) < length:
            return False
        if client is not None:
            self.scraping.pop(0)
            client.output += self.received[:length]
            client.scrape = 0  # closed when it is sent
        del self.received[:length]
        return True

    # Clients ---------------------------------------------------------------------------------------------------------

    def accept(self, listener):
        connection = listener.accept()[0]
        if len(self.clients) >= CLIENTS_MAX:
            connection.close()
            return
        connection.setblocking(False)
        client = Client(connection)
        self.clients.append(client)
        self.selector.register(connection, selectors.EVENT_READ, client)

    def take_requests(self, client):
        if client.input.startswith(b"GET "):
            self.ask_metrics(client)
            return
        while len(client.input) >= HEADER.size:
            header = HEADER.unpack_from(client.input)
            if not plausible(header):
                self.drop(client)
                return
            if len(client.input) < header[0]:
                return
            message = bytes(client.input[:header[0]])
            del client.input[:header[0]]
            self.forward(client, header, message)

    def drop(self, client):
        """Forgets a client, and has virtd forget its callbacks and end its streams."""
        if client not in self.clients:
            return
        self.clients.remove(client)
        self.selector.unregister(client.connection)
        client.connection.close()
        for callback in client.events:
            self.serial += 1
            self.waiting += pack(DEREGISTER_EVENT, CALL, self.serial, payload=struct.pack(">I", callback))
        for serial, (owner, _, procedure) in list(self.calls.items()):
            if owner is client and procedure in OPEN_STREAM:
                self.waiting += pack(procedure, STREAM, serial, ERROR)
            if owner is client:
                del self.calls[serial]

    # The loop --------------------------------------------------------------------------------------------------------

    def read(self, source):
        try:
            return source.recv(CHUNK) if isinstance(source, socket.socket) else os.read(source.fileno(), CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def flush(self, target, data):
        try:
            sent = target.send(data) if isinstance(target, socket.socket) else os.write(target.fileno(), data)
        except BlockingIOError:
            return True
        except OSError:
            return False
        del data[:sent]
        return True

    def step(self, timeout):
        """Serves what comes within TIMEOUT seconds. False: the line has ended."""
        if self.clients:
            self.greet()
            timeout = min(timeout, GREETING_RETRY) if self.greeted is not True else timeout
        self.selector.modify(self.line, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.waiting else 0))
        for client in self.clients:
            self.selector.modify(client.connection, selectors.EVENT_READ |
                                 (selectors.EVENT_WRITE if client.output else 0), client)
        for key, events in self.selector.select(timeout):
            if key.fileobj is self.line:
                if events & selectors.EVENT_READ:
                    data = self.read(self.line)
                    if data == b"":
                        return False
                    self.received += data or b""
                if events & selectors.EVENT_WRITE and not self.flush(self.line, self.waiting):
                    return False
            elif key.fileobj in self.listeners:
                self.accept(key.fileobj)
            elif events & selectors.EVENT_READ and key.data in self.clients:
                data = self.read(key.data.connection)
                key.data.input += data or b""
                if data == b"":
                    self.drop(key.data)
        self.take_messages()
        for client in list(self.clients):
            if self.greeted is True:
                self.take_requests(client)
            if client.output and not self.flush(client.connection, client.output):
                self.drop(client)
            elif len(client.output) > OUTPUT_MAX:
                self.drop(client)
            elif client.scrape == 0 and not client.output:
                self.drop(client)
        return True


def open_line(name):
    if ":" in name:
        host, port = name.rsplit(":", 1)
        line = socket.create_connection((host, int(port)))
    elif os.path.exists(name) and not os.path.isfile(name) and os.stat(name).st_mode & 0o170000 == 0o140000:
        line = socket.socket(socket.AF_UNIX)
        line.connect(name)
    else:
        line = open(name, "r+b", buffering=0)
        tty.setraw(line)
        settings = termios.tcgetattr(line)
        settings[4] = settings[5] = termios.B115200
        settings[2] |= termios.CRTSCTS | termios.CLOCAL
        termios.tcsetattr(line, termios.TCSANOW, settings)
        os.set_blocking(line.fileno(), False)
        return line
    line.setblocking(False)
    return line


def listen_tcp(host, port):
    return socket.create_server((host, port), backlog=16)


def main():
    parser = argparse.ArgumentParser(description="Lets several clients of libvirt share one serial line to virtd.")
    parser.add_argument("line", help="a terminal, a Unix socket, or HOST:PORT")
    parser.add_argument("--tcp", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--unix", metavar="PATH", action="append", default=[])
    arguments = parser.parse_args()
    listeners = []
    for address in arguments.tcp:
        host, port = address.rsplit(":", 1)
        listeners.append(listen_tcp(host, int(port)))
    for path in arguments.unix:
        if os.path.exists(path):
            os.unlink(path)
        listeners.append(socket.create_server(path, family=socket.AF_UNIX, backlog=16))
    if not listeners:
        parser.error("neither --tcp nor --unix")
    mux = Mux(open_line(arguments.line), listeners)
    while mux.step(60):
        pass
    sys.exit("the line has ended")


if __name__ == "__main__":
    main()
