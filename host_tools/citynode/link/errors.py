"""What can go wrong between the host and a board."""

from collections.abc import Mapping

from citynode.errors import CitynodeError

# Kind: what happened ({port} and {detail} are filled in), and what to do about it.
_TEXTS: Mapping[str, tuple[str, str]] = {
    "no_port": ("{port} does not exist", "plug the board in; see 'citynode ports'"),
    "permission": (
        "no permission to open {port}",
        "join its group: 'sudo usermod -aG dialout $USER', then log in again",
    ),
    "busy": ("{port} is in use by another program", "close that program, then run this again"),
    "refused": ("nothing answers at {port}", "start the server or the virtual board there"),
    "no_host": ("the host of {port} is not known", "correct the address"),
    "not_rfc2217": (
        "{port} is in use by another program, or is no RFC 2217 server",
        "close that program, or correct the address",
    ),
    "not_serial": ("{port} is no serial port", "see 'citynode ports'"),
    "open": ("{port} cannot be opened ({detail})", "see 'citynode ports' and 'citynode doctor'"),
    "lost": ("{port} went away ({detail})", "check cable and hub, then run this again"),
    "no_lines": (
        "{port} has no lines that reset a board",
        "press EN on the board, or leave out '--reset'",
    ),
    "no_board": (
        "no ESP32 answers on {port}",
        "check cable and power; hold BOOT, press EN, then run this again",
    ),
    "bootloader": (
        "the bootloader on {port} failed: {detail}",
        "run this again, or with -b 115200",
    ),
    "unkept": (
        "the flash on {port} does not keep what is written at {detail}",
        "put the board aside: its flash chip is worn or broken",
    ),
    "protected": (
        "the board on {port} is in secure download mode or encrypts its flash",
        "use a board without flash protection",
    ),
    "no_repl": (
        "MicroPython does not answer on {port}",
        "see 'citynode monitor -p {port}'; flash the board if it has no MicroPython",
    ),
    "program": ("the board on {port} says {detail}", "flash the board, then run this again"),
    "silent": ("{port} did not answer in time ({detail})", "run this again"),
    "died": ("the program for {port} ended ({detail})", "see 'citynode doctor'"),
    "stopped": ("stopped at {port}", "run this again: it goes on where it was"),
    "local_only": (
        "ampy cannot use {port}",
        "give a port of this machine, or leave out '--transport ampy'",
    ),
}


class LinkError(CitynodeError):
    """Something between host and board failed: `kind` says what, `port` where."""

    def __init__(self, kind: str, port: str, detail: str = "") -> None:
        what, cure = _TEXTS[kind]
        detail = " ".join(detail.split())[:200] or "no details"
        super().__init__(
            what.format(port=port, detail=detail),
            cure.format(port=port, detail=detail),
            exit_code=1,
        )
        self.kind = kind
        self.port = port
