"""The other end of the command: a cable that can be unplugged, a broker that can fail."""

import contextlib
import os
import socket
import struct
import threading
import tty

from workbench import wait_for


class Cable:
    """A serial port under one name, whose plug can be pulled; what is written comes out there."""

    def __init__(self, path):
        self.path = path
        self._master = None
        self.plug()

    def plug(self):
        self._master, device = os.openpty()
        tty.setraw(device)
        name = os.ttyname(device)
        os.close(device)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(name)

    def pull(self):
        master, self._master = self._master, None
        if master is not None:
            self.path.unlink()
            os.close(master)

    def write(self, data, within_s=10):
        """Write all; the buffer of a terminal is small, so somebody has to read."""
        data = memoryview(data)
        while data:
            sent = 0

            def some(data=data):
                nonlocal sent
                with contextlib.suppress(BlockingIOError):
                    sent = os.write(self._master, data[:512])
                return sent

            wait_for(some, within_s, lambda: "nobody reads from the cable")
            data = data[sent:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pull()


def publication(topic, payload, number=None):
    """Return a PUBLISH packet, with QoS 1 if it has a number."""
    body = struct.pack(">H", len(topic.encode())) + topic.encode()
    body += b"" if number is None else struct.pack(">H", number)
    body += payload
    assert len(body) < 128
    return bytes((0x30 if number is None else 0x32, len(body))) + body


def publish(port, *messages):
    """Publish (topic, payload) pairs with QoS 1, each when the broker has the one before."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as broker,
        broker.makefile("rb") as answers,
    ):
        broker.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p")
        assert answers.read(4) == b"\x20\x02\x00\x00"
        for number, (topic, payload) in enumerate(messages, 1):
            broker.sendall(publication(topic, payload, number))
            assert answers.read(4) == b"\x40\x02" + struct.pack(">H", number)
        broker.sendall(b"\xe0\x00")


class ScriptedBroker:
    """Just enough of MQTT 3.1.1 for one subscriber, and what no broker should do."""

    def __init__(self, port=0, connack=b"\x20\x02\x00\x00", tls=None):
        self._connack = connack
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._client = None
        self._subscribed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._client is not None:
                    self._client.close()
                self._client = client
                with contextlib.suppress(OSError):
                    if self._tls is not None:
                        self._client = self._tls.wrap_socket(client, server_side=True)
                    self._greet(self._client)

    def _greet(self, client):
        client.recv(1024)
        client.sendall(self._connack)
        subscribe = client.recv(1024)
        client.sendall(b"\x90\x03" + subscribe[2:4] + b"\x01")
        self._subscribed.set()

    def subscribed(self, within_s=10):
        assert self._subscribed.wait(within_s)

    def send(self, data):
        self._client.sendall(data)

    def drop(self):
        """Hang up; the next connection is waited for with `subscribed`."""
        self._subscribed.clear()
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def publish(self, topic, payload):
        self.send(publication(topic, payload))

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for _ in range(100):
            # It may have taken one more connection just before.
            with contextlib.suppress(OSError, AttributeError):
                self._client.shutdown(socket.SHUT_RDWR)
            self._thread.join(0.05)
            if not self._thread.is_alive():
                break
        if self._client is not None:
            self._client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
