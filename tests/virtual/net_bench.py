"""MicroPython with the network of its chip, without a board around it, and TCP servers for it."""

import contextlib
import socket
import threading

from citynode.virtual.engine import Engine
from citynode.virtual.soc.peripherals.net import Net
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.world import World
from upy_bench import UpyBench

JOIN = """
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("citynode-bench", "bochum-bench")
while not wlan.isconnected():
    time.sleep_ms(20)
"""
ERRNO = """
def errno_of(fn, *args):
    try:
        fn(*args)
    except OSError as error:
        return error.errno
"""


class Bench:
    def __init__(self):
        self.engine = Engine(seed=3)
        self.world = World(self.engine)
        self.upy = UpyBench(self.engine)
        self.wlan = Wlan(self.engine, self.world, self.engine.rng("wlan"), "198.18.128.1")
        self.net = Net(self.world.network, self.wlan)
        for part in (self.wlan, self.net):
            part.attach(self.upy)

    def run(self, script):
        return self.upy.run(ERRNO + script)

    def close(self):
        self.world.close()
        self.engine.close()


@contextlib.contextmanager
def served(handler, context=None):
    """Serve one TCP connection after another on the loopback; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    with contextlib.suppress(OSError):
                        if context is None:
                            handler(connection)
                        else:
                            with context.wrap_socket(connection, server_side=True) as wrapped:
                                handler(wrapped)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def echo(connection):
    while data := connection.recv(1000):
        connection.sendall(data)
