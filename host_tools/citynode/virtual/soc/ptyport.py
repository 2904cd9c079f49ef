"""A board's serial port as a pseudo-terminal."""

import errno
import fcntl
import os
import select
import termios
import tty
from pathlib import Path

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.adapter import OUTPUT_LIMIT, READ_SIZE, Adapter
from citynode.virtual.soc.line import heard
from citynode.virtual.soc.rfc2217 import Settings

_LOOK_S = 0.02  # how often a closed terminal is looked at for somebody opening it
_BAUDS: dict[int, int] = {
    value: int(name[1:])
    for name, value in vars(termios).items()
    if name[0] == "B" and name[1:].isdigit() and name != "B0"
}


class PtyOutlet:
    """A pseudo-terminal with a symlink that keeps its name.

    It has no modem lines: opening it resets nothing. The speed that the program on it has set is
    the speed of the line.
    """

    def __init__(self, engine: Engine, line: Adapter, link: Path) -> None:
        self._engine = engine
        self._line = line
        self.link = link
        self._output = bytearray()
        self._look: Timer | None = None
        self._open = False
        self._master, slave = os.openpty()
        self.device = os.ttyname(slave)
        _make_raw(slave)
        # From here on the master reports a hang-up until somebody opens the terminal.
        os.close(slave)
        os.set_blocking(self._master, False)
        fcntl.fcntl(self._master, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self.device)
        self._closed()

    def close(self) -> None:
        """Close the terminal and remove its symlink."""
        if self._look is not None:
            self._look.cancel()
        self._engine.remove_reader(self._master)
        self._engine.remove_writer(self._master)
        if self.link.is_symlink() and os.readlink(self.link) == self.device:
            self.link.unlink()
        os.close(self._master)

    def transmit(self, data: bytes, settings: Settings) -> None:
        """Take bytes of the board; without a reader they are lost."""
        if not self._open and not self._somebody():
            return
        data, _ = heard(data, settings, self._settings())
        self._output += data[: OUTPUT_LIMIT - len(self._output)]
        self._flush()

    def resume_reading(self) -> None:
        """Read from the terminal again after its bytes found no room."""
        if self._open:
            self._engine.add_reader(self._master, self._readable)

    def _somebody(self) -> bool:
        """Tell whether a program has the terminal open, and act on a change."""
        events = sum(events for _, events in self._poll.poll(0))
        hung_up = bool(events & select.POLLHUP)
        if hung_up and events & select.POLLIN and not self._open:
            self._drain()  # somebody came and went between two looks
        elif hung_up == self._open:
            if hung_up:
                self._closed()
            else:
                self._opened()
        return self._open

    def _opened(self) -> None:
        self._open = True
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._engine.add_reader(self._master, self._readable)

    def _closed(self) -> None:
        self._open = False
        self._output.clear()
        self._drain()
        # A hung-up master is always ready to read: watching it would keep the engine spinning.
        self._engine.remove_reader(self._master)
        self._engine.remove_writer(self._master)
        self._look = self._engine.call_later(_LOOK_S, self._looking)

    def _looking(self) -> None:
        self._look = None
        if not self._somebody():
            self._look = self._engine.call_later(_LOOK_S, self._looking)

    def _settings(self) -> Settings:
        """Return the speed of the terminal; one that has no name in termios is taken as right."""
        baud = _BAUDS.get(termios.tcgetattr(self._master)[5])
        return Settings() if baud is None else Settings(baud=baud)

    def _read(self) -> bytes | None:
        """Return bytes of the program, b"" when it is gone, None when there is nothing."""
        try:
            return os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def _drain(self) -> None:
        """Take what a program has written before it closed the terminal; drop what it left."""
        while data := self._read():
            self._line.receive(data, self._settings())
        # The terminal keeps unread bytes and settings for whoever opens it next, which a USB
        # adapter's driver does not; only its own end can drop them.
        slave = os.open(self.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        termios.tcflush(slave, termios.TCIFLUSH)
        _make_raw(slave)
        os.close(slave)

    def _readable(self) -> None:
        data = self._read()
        if data == b"":
            self._somebody()
        elif data is not None:
            self._line.receive(data, self._settings())
            if self._open and not self._line.accepts_input:
                self._engine.remove_reader(self._master)

    def _flush(self) -> None:
        while self._output:
            try:
                sent = os.write(self._master, self._output[:READ_SIZE])
            except BlockingIOError:
                self._engine.add_writer(self._master, self._flush)
                return
            except OSError:
                self._output.clear()
                break
            del self._output[:sent]
        self._engine.remove_writer(self._master)


def _make_raw(slave: int) -> None:
    tty.setraw(slave)
    attributes = termios.tcgetattr(slave)
    attributes[4] = attributes[5] = termios.B115200
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
