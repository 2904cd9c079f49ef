"""Switches for the supply of boards: USB hubs, relays on a serial port, commands of one's own."""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import serial
from pydantic import Field, field_validator, model_validator

from citynode.errors import CitynodeError
from citynode.link import ports
from citynode.link.serialio import PortError, open_port
from citynode.tomlfile import Table

OFF_S = 1.0  # the capacitors of a dev board are empty by then
_COMMAND_S = 30.0
_RELAY_WRITE_S = 5.0
_SETTLE_S = 0.05  # cheap relay boards lose a frame that comes right behind another


class PowerError(CitynodeError):
    """The supply of a board could not be switched."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what, cure, exit_code=1)


class Uhubctl(Table):
    """A port of a USB hub that can switch it; `hub` is its location as uhubctl prints it.

    Many hubs switch the data lines only: 'citynode bench power' tells whether the board is gone.
    """

    kind: Literal["uhubctl"]
    hub: Annotated[str, Field(pattern=r"^[0-9]+(-[0-9]+(\.[0-9]+)*)?$")]
    port: Annotated[int, Field(ge=1, le=64)]

    def switch(self, on: bool) -> None:
        """Switch the port; raises PowerError."""
        action = "on" if on else "off"
        _run(["uhubctl", "-l", self.hub, "-p", str(self.port), "-a", action], "uhubctl")


class Relay(Table):
    """A relay on a serial port: an LCUS board by its `channel`, any other by the bytes it takes.

    `on` and `off` are bytes as hex digits. With `normally_closed` the board is fed through the
    contact that opens when the relay is on.
    """

    kind: Literal["relay"]
    serial: Annotated[str, Field(min_length=1)]
    channel: Annotated[int, Field(ge=1, le=254)] | None = None
    on: bytes | None = None
    off: bytes | None = None
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    normally_closed: bool = False

    @field_validator("on", "off", mode="before")
    @classmethod
    def _from_hex(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise ValueError("give bytes as hex digits, as A0 01 01 A2") from None

    @model_validator(mode="after")
    def _can_do_both(self) -> "Relay":
        if self.channel is None and not (self.on and self.off):
            raise ValueError("a relay needs channel (LCUS), or on and off")
        return self

    def switch(self, on: bool) -> None:
        """Send the frame; raises PowerError."""
        try:
            with ports.lock(self.serial, within_s=_RELAY_WRITE_S):
                line = open_port(self.serial, self.baud, _RELAY_WRITE_S, leave_lines=True)
                try:
                    line.write(self.frame(on != self.normally_closed))
                    line.flush()
                    time.sleep(_SETTLE_S)
                finally:
                    line.close()
        except (PortError, CitynodeError, serial.SerialException, OSError) as error:
            raise PowerError(
                f"the relay at {self.serial} cannot be switched ({error})",
                "check its port in the bench map",
            ) from None

    def frame(self, energised: bool) -> bytes:
        """Return what switches the relay: start, channel, state, and the sum of these (LCUS)."""
        given = self.on if energised else self.off
        if given is not None:
            return given
        head = bytes((0xA0, self.channel or 0, energised))
        return head + bytes((sum(head) & 0xFF,))


class Command(Table):
    """Commands that switch a supply, started without a shell; they end with 0."""

    kind: Literal["command"]
    on: Annotated[str, Field(min_length=1)]
    off: Annotated[str, Field(min_length=1)]

    @field_validator("on", "off")
    @classmethod
    def _can_be_split(cls, value: str) -> str:
        if not shlex.split(value):
            raise ValueError("give a command")
        return value

    def switch(self, on: bool) -> None:
        """Run the command; raises PowerError."""
        words = shlex.split(self.on if on else self.off)
        _run(words, words[0])


Power = Uhubctl | Relay | Command


def cycle(power: Power, sleep: Callable[[float], object] = time.sleep) -> None:
    """Switch a supply off and on again; it is on at the end, also if something fails.

    Raises PowerError.
    """
    try:
        power.switch(False)
        sleep(OFF_S)
    finally:
        power.switch(True)


def _run(words: Sequence[str], name: str) -> None:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_S,
            check=False,
        )
    except FileNotFoundError:
        raise PowerError(f"there is no {name} on this machine", "install it") from None
    except OSError as error:
        raise PowerError(f"{name} cannot be started: {error.strerror}", "correct the map") from None
    except subprocess.TimeoutExpired:
        raise PowerError(f"{name} did not end in {_COMMAND_S:.0f} s", "try it by hand") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        detail = f": {said[-1][:200]}" if said else ""
        raise PowerError(f"{name} ended with {done.returncode}{detail}", "try it by hand")
