"""The program that drives one board's bootloader with esptool's library."""

import contextlib
import hashlib
from typing import Any

import esptool
import littlefs
import serial
from esptool.cmds import (
    attach_flash,
    detect_chip,
    detect_flash_size,
    erase_flash,
    reset_chip,
    run_stub,
    write_flash,
)
from esptool.logger import EsptoolLogger, log
from esptool.util import flash_size_bytes

from citynode.link.channel import Failure, Handler, Progress, serve
from citynode.link.serialio import PortError, open_port

_SYNC_BAUD = 115200
_SECTOR = 4096
_IO_ERROR = -5
_CHIPS = {"ESP32": "esp32", "ESP32-S3": "esp32s3", "ESP32-C3": "esp32c3"}


class _Reporter(EsptoolLogger):  # type: ignore[misc]  # esptool is not typed
    """Passes esptool's progress on."""

    def __init__(self) -> None:
        super().__init__()
        self.report: Progress | None = None

    def progress_bar(self, cur_iter: int, total_iters: int, *_: Any, **__: Any) -> None:
        if self.report is not None:
            self.report(cur_iter, total_iters)


class _Area:
    """Flash from `address` on, read as far as it is looked at.

    What is as `guess` says need not come over the line: its MD5 does.
    """

    _AHEAD = 4 * _SECTOR
    _COMPARED = (16 * _SECTOR, _AHEAD)

    def __init__(self, chip: Any, address: int, size: int, guess: bytes, report: Progress) -> None:
        self._chip = chip
        self._address = address
        self._size = size
        self._guess = guess
        self._report = report
        self._sectors: dict[int, bytes] = {}
        self._compared: set[tuple[int, int]] = set()

    def read(self, start: int, size: int) -> bytearray:
        found = bytearray()
        while len(found) < size:
            at = start + len(found)
            base = at - at % _SECTOR
            if base not in self._sectors:
                self._fetch(base)
                self._report(len(self._sectors), 0)
            found += self._sectors[base][at - base : at - base + size - len(found)]
        return found

    def _fetch(self, at: int) -> None:
        for size in self._COMPARED:
            base = at - at % size
            guess = self._guess[base : base + size]
            if base + len(guess) <= at or (base, size) in self._compared:
                continue
            self._compared.add((base, size))
            digest = hashlib.md5(guess, usedforsecurity=False).hexdigest()
            if self._chip.flash_md5sum(self._address + base, len(guess)) == digest:
                self._keep(base, guess)
                return
        base = at - at % self._AHEAD
        length = min(self._AHEAD, self._size - base)
        self._keep(base, self._chip.read_flash(self._address + base, length))

    def _keep(self, base: int, data: bytes) -> None:
        for at in range(0, len(data), _SECTOR):
            self._sectors[base + at] = data[at : at + _SECTOR]


class _Disk(littlefs.UserContext):  # type: ignore[misc]  # littlefs is not typed
    """A file system in an area of the board's flash, never written."""

    def __init__(self, area: _Area) -> None:
        super().__init__(0)
        self._area = area

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:
        return self._area.read(block * cfg.block_size + off, size)

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:
        return _IO_ERROR

    def erase(self, cfg: Any, block: int) -> int:
        return _IO_ERROR


class Bootloader:
    """One board in its bootloader, with esptool's stub running."""

    def __init__(self) -> None:
        self._line: serial.SerialBase | None = None
        self._chip: Any = None
        self._log = _Reporter()
        log.set_logger(self._log)

    def connect(
        self, report: Progress, port: str, baud: int, before: str, attempts: int
    ) -> dict[str, object]:
        """Reset into the bootloader, find out what chip it is, start the stub; writes nothing."""
        self.close(report)
        self._line = open_port(port, _SYNC_BAUD)
        try:
            chip = detect_chip(
                self._line, _SYNC_BAUD, connect_mode=before, connect_attempts=attempts
            )
        except esptool.FatalError as error:
            raise Failure("no_board", str(error)) from error
        if chip.secure_download_mode or chip.get_flash_encryption_enabled():
            raise Failure("protected")
        name = chip.CHIP_NAME
        mac = bytes(chip.read_mac())
        chip = run_stub(chip)
        if baud != _SYNC_BAUD:
            chip.change_baud(baud)
        attach_flash(chip)
        size = detect_flash_size(chip)
        self._chip = chip
        if size is not None:
            chip.flash_set_parameters(flash_size_bytes(size))
        return {
            "chip": _CHIPS.get(name, name),
            "name": name,
            "mac": mac.hex(),
            "flash_size": None if size is None else flash_size_bytes(size),
        }

    def digests(self, report: Progress, regions: list[list[int]]) -> list[str]:
        """Return the MD5 of each (address, size), as the chip calculates it."""
        found = []
        for number, (address, size) in enumerate(regions):
            found.append(self._chip.flash_md5sum(address, size))
            report(number + 1, len(regions))
        return found

    def read(self, report: Progress, address: int, size: int, guess: bytes) -> bytes:
        """Read flash (whole sectors); esptool checks the MD5 of what arrives."""
        return bytes(_Area(self._chip, address, size, guess, report).read(0, size))

    def files(
        self,
        report: Progress,
        address: int,
        size: int,
        sizes: dict[str, int],
        guess: bytes,
    ) -> dict[str, str] | None:
        """Return the SHA-256 of those files that are there with these sizes; None: no file system.

        littlefs trusts what it reads. Should it fail on foreign bytes, this process ends; the
        parent knows what to make of that.
        """
        context = _Disk(_Area(self._chip, address, size, guess, report))
        try:
            system = littlefs.LittleFS(
                context=context,
                mount=True,
                block_size=_SECTOR,
                block_count=size // _SECTOR,
                read_size=32,
                prog_size=32,
                cache_size=128,
                lookahead_size=32,
            )
            found = {}
            for path, length in sizes.items():
                with contextlib.suppress(littlefs.LittleFSError, OSError):
                    if system.stat(path).size == length:
                        with system.open(path, "rb") as file:
                            found[path] = hashlib.sha256(file.read()).hexdigest()
        except (littlefs.LittleFSError, OSError):
            return None
        return found

    def write(self, report: Progress, address: int, data: bytes) -> None:
        """Erase and write a region (whole sectors); the chip's MD5 of it is checked."""
        self._log.report = report
        try:
            write_flash(self._chip, [(address, data)], flash_size="keep")
        except esptool.FatalError as error:
            bad = self._unkept(address, data)
            if bad is None:
                raise
            raise Failure("unkept", f"{bad:#x}") from error
        finally:
            self._log.report = None

    def _unkept(self, address: int, data: bytes) -> int | None:
        """Return where the first sector is that is not as written; None if the write broke off.

        A write that broke off lacks all from some place on.
        """
        wrong = []
        for at in range(0, len(data), _SECTOR):
            part = data[at : at + _SECTOR]
            digest = hashlib.md5(part, usedforsecurity=False).hexdigest()
            try:
                same = self._chip.flash_md5sum(address + at, len(part)) == digest
            except (esptool.FatalError, serial.SerialException, OSError):
                return None
            if not same:
                wrong.append(at)
        tail = range(wrong[0], len(data), _SECTOR) if wrong else ()
        broken_off = len(wrong) > 1 and wrong == list(tail)
        return None if broken_off or not wrong else address + wrong[0]

    def erase(self, report: Progress) -> None:
        """Erase the whole flash."""
        erase_flash(self._chip)

    def reset(self, report: Progress, mode: str) -> None:
        """Start what is in flash."""
        reset_chip(self._chip, mode)

    def close(self, report: Progress) -> None:
        """Let go of the port."""
        self._chip = None
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.close()
            self._line = None

    def handlers(self) -> dict[str, Handler]:
        """Return what the parent may call."""
        return {
            "connect": self.connect,
            "digests": self.digests,
            "read": self.read,
            "files": self.files,
            "write": self.write,
            "erase": self.erase,
            "reset": self.reset,
            "close": self.close,
        }


def classify(error: BaseException) -> tuple[str, str]:
    """Tell which kind of failure an exception of esptool or pyserial is."""
    if isinstance(error, PortError):
        return error.kind, str(error)
    if isinstance(error, serial.SerialException | OSError):
        return "lost", str(error)
    lines = str(error).splitlines()
    return "bootloader", lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    serve(Bootloader().handlers(), classify)
