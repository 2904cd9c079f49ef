"""A serial server between a tool and a board whose line does not bear high speeds."""

import contextlib
import select
import socket
import threading

_IAC, _SB, _SE, _COM_PORT, _SET_BAUD = 255, 250, 240, 44, 1


class DeafAbove:
    """Relays one RFC 2217 connection after the other; `url` is where.

    While the tool's speed is above `limit` baud, what the board says comes out as noise. `speeds`
    are those that the tool has asked for.
    """

    def __init__(self, board_url, limit):
        self._target = int(board_url.rpartition(":")[2])
        self._limit = limit
        self.speeds = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            board = socket.create_connection(("127.0.0.1", self._target))
            with client, board, contextlib.suppress(OSError):
                self._relay(client, board)

    def _relay(self, client, board):
        while True:
            ready, _, _ = select.select([client, board], [], [], 120)
            if client in ready:
                data = client.recv(65536)
                self._look(data)
                board.sendall(data)
            if board in ready:
                data = board.recv(65536)
                client.sendall(self._garble(data))
            if not ready or not data:
                return

    def _look(self, data):
        start = bytes((_IAC, _SB, _COM_PORT, _SET_BAUD))
        at = data.find(start)
        while at >= 0:
            # 255 does not occur in the speeds that are in use, so that nothing is doubled.
            self.speeds.append(int.from_bytes(data[at + 4 : at + 8], "big"))
            at = data.find(start, at + 1)

    def _garble(self, data):
        """Change letters and leave telnet's commands as they are."""
        if not self.speeds or self.speeds[-1] <= self._limit or _IAC in data:
            return data
        return bytes(byte ^ 0x55 if byte ^ 0x55 != _IAC else byte for byte in data)
