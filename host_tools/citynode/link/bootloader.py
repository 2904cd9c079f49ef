"""A board's bootloader, driven by esptool in a process of its own."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from citynode.link.channel import Child, Leash, Progress
from citynode.link.errors import LinkError

SECTOR = 4096
BLOCK = 64 << 10  # what is compared and, where it differs, written: the flash's large erase unit
FAST, SAFE = 460800, 115200

_CONNECT_S = 60.0
_STEP_S = 60.0
_ERASE_S = 240.0  # 16 MiB take 200 s at the most (W25Q128JV, tCE)


@dataclass(frozen=True)
class ChipFacts:
    """What the bootloader tells of a board; `mac` as 12 hex digits, `flash_size` in bytes."""

    chip: str
    name: str
    mac: str
    flash_size: int | None


class Bootloader:
    """A session with one board's bootloader; use it as a context manager.

    Every method raises LinkError.
    """

    def __init__(self, port: str, leash: Leash | None = None) -> None:
        self._child = Child("citynode.link.bootloader_child", port, leash)
        self.port = port

    def connect(
        self, baud: int = FAST, *, before: str = "default-reset", attempts: int = 5
    ) -> ChipFacts:
        """Reset the board into its bootloader and ask what it is; nothing is written.

        Falls back to 115200 baud where the faster rate does not work.
        """
        rates = [baud] if baud <= SAFE else [baud, SAFE]
        for rate in rates:
            try:
                facts = self._child.call(
                    "connect",
                    timeout_s=_CONNECT_S,
                    port=self.port,
                    baud=rate,
                    before=before,
                    attempts=attempts,
                )
            except LinkError as error:
                if error.kind != "bootloader" or rate == rates[-1]:
                    raise
                continue
            return ChipFacts(**facts)
        raise AssertionError  # the loop returns or raises

    def differing(
        self, address: int, data: bytes, progress: Progress | None = None
    ) -> list[tuple[int, bytes]]:
        """Return the parts of `data` that are not in flash at `address`, as runs of sectors."""
        blocks = [
            (at, data[at - address : at - address + BLOCK])
            for at in range(address, address + len(data), BLOCK)
        ]
        found = self._child.call(
            "digests",
            timeout_s=_STEP_S,
            progress=progress,
            regions=[[at, len(block)] for at, block in blocks],
        )
        runs: list[tuple[int, bytes]] = []
        for (at, block), digest in zip(blocks, found, strict=True):
            if hashlib.md5(block, usedforsecurity=False).hexdigest() == digest:
                continue
            if runs and runs[-1][0] + len(runs[-1][1]) == at:
                runs[-1] = (runs[-1][0], runs[-1][1] + block)
            else:
                runs.append((at, block))
        return runs

    def read(
        self, address: int, size: int, guess: bytes = b"", progress: Progress | None = None
    ) -> bytes:
        """Read flash, in whole sectors.

        `guess` is what may be there: blocks of it that the chip has the same MD5 of are not read.
        """
        data: bytes = self._child.call(
            "read", timeout_s=_STEP_S, progress=progress, address=address, size=size, guess=guess
        )
        return data

    def files(
        self,
        address: int,
        size: int,
        sizes: Mapping[str, int],
        guess: bytes = b"",
        progress: Progress | None = None,
    ) -> dict[str, str] | None:
        """Return the SHA-256 of those files of the LittleFS at `address` that have these sizes.

        `guess` is as for `read`. None where there is no file system. The bytes may be anything;
        where they make littlefs fail, LinkError has the kind "died" or "silent", and the session
        is over.
        """
        found: dict[str, str] | None = self._child.call(
            "files",
            timeout_s=_STEP_S,
            progress=progress,
            address=address,
            size=size,
            sizes=dict(sizes),
            guess=guess,
        )
        return found

    def erase(self) -> None:
        """Erase the whole flash."""
        self._child.call("erase", timeout_s=_ERASE_S)

    def write(self, runs: Sequence[tuple[int, bytes]], progress: Progress | None = None) -> None:
        """Write and verify; `progress` gets the bytes done of all.

        LinkError has the kind "unkept" where the flash does not keep what was written.
        """
        total = sum(len(data) for _, data in runs)
        done = 0
        for address, data in runs:

            def part(current: int, whole: int, before: int = done, size: int = len(data)) -> None:
                if progress is not None and whole:
                    progress(before + size * min(current, whole) // whole, total)

            self._child.call("write", timeout_s=_STEP_S, progress=part, address=address, data=data)
            done += len(data)

    def reset(self, mode: str = "hard-reset") -> None:
        """Start what is in flash, and let go of the port."""
        self._child.call("reset", timeout_s=_STEP_S, mode=mode)
        self._child.call("close", timeout_s=_STEP_S)

    def close(self) -> None:
        """End the session; the board stays as it is."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
