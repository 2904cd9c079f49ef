"""A cable between a port that keeps its name and whichever board is plugged in."""

import contextlib
import select
import socket
import threading


class Cable:
    """Relays connections to `url` to the RFC 2217 port of the board at its other end.

    While no board is plugged in, nothing answers at `url`. Whoever is connected when it is pulled
    out loses the port.
    """

    def __init__(self, board=None):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.url = f"rfc2217://127.0.0.1:{self._port}"
        self._lock = threading.Lock()
        self._listener = None
        self._open = set()
        self._threads = []
        if board is not None:
            self.plug(board)

    def plug(self, board):
        self.listen(int(board.rfc2217_url.rpartition(":")[2]))

    def listen(self, target=None):
        """Have something answer, that hangs up if there is no board."""
        self.unplug()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        thread = threading.Thread(target=self._serve, args=(self._listener, target), daemon=True)
        self._threads.append(thread)
        thread.start()

    def unplug(self):
        """Pull it out; may be called from any thread."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends, self._open = self._open, set()
        for each in [*filter(None, [listener]), *ends]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if listener is not None:
            listener.close()

    def close(self):
        self.unplug()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _serve(self, listener, target):
        relays = []
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                break
            if target is None:
                client.close()
                continue
            relay = threading.Thread(target=self._relay, args=(client, target), daemon=True)
            relays.append(relay)
            relay.start()
        for relay in relays:
            relay.join(10)

    def _relay(self, client, target):
        board = socket.create_connection(("127.0.0.1", target))
        with client, board, contextlib.suppress(OSError):
            with self._lock:
                self._open |= {client, board}
            other = {client: board, board: client}
            while True:
                for end in select.select([client, board], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)
