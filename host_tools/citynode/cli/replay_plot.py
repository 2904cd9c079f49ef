"""A recording and its passages as a picture: in the terminal, as SVG or as PNG."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 1200, 360
_WHITE, _BLUE, _BAND, _GREY = (255, 255, 255), (31, 90, 160), (255, 221, 160), (150, 150, 150)


@dataclass(frozen=True)
class Picture:
    """What is drawn: (s, value) of the samples, (from, to, text) of the passages, and a name."""

    points: Sequence[tuple[float, float]]
    bands: Sequence[tuple[float, float, str]]
    title: str

    @property
    def span(self) -> tuple[float, float]:
        """First and last time (s)."""
        first, last = self.points[0][0], self.points[-1][0]
        return first, max(last, first + 0.001)

    def columns(self, width: int) -> list[tuple[float, float] | None]:
        """Return the least and greatest value of each of `width` columns, None if it has none."""
        first, last = self.span
        found: list[tuple[float, float] | None] = [None] * width
        for t, value in self.points:
            place = min(max(int((t - first) / (last - first) * width), 0), width - 1)
            now = found[place]
            found[place] = (
                (value, value) if now is None else (min(now[0], value), max(now[1], value))
            )
        return found

    def marks(self, width: int) -> list[tuple[int, int, str]]:
        """Return first and last column of each passage, and its text."""
        first, last = self.span
        scale = width / (last - first)
        return [
            (
                min(max(int((start - first) * scale), 0), width - 1),
                min(max(int((end - first) * scale), 0), width - 1),
                text,
            )
            for start, end, text in self.bands
        ]

    def limits(self) -> tuple[float, float]:
        """Return the least and the greatest value."""
        values = [value for _, value in self.points]
        low, high = min(values), max(values)
        return low, high if high > low else low + 1


def terminal(picture: Picture, width: int = 100, height: int = 14) -> str:
    """Draw with characters: dots are samples, the line below has a mark for each passage."""
    low, high = picture.limits()
    grid = [[" "] * width for _ in range(height)]
    for x, column in enumerate(picture.columns(width)):
        if column is None:
            continue
        top, bottom = (
            height - 1 - int((value - low) / (high - low) * (height - 1)) for value in column[::-1]
        )
        for y in range(top, bottom + 1):
            grid[y][x] = "•" if y in (top, bottom) else "│"
    under = [" "] * width
    for start, end, _ in picture.marks(width):
        for x in range(start, end + 1):
            under[x] = "▀"
    rows = ["".join(row).rstrip() for row in grid]
    rows[0] = f"{rows[0]:{width}} {high:g}"
    rows[-1] = f"{rows[-1]:{width}} {low:g}"
    first, last = picture.span
    ends = f"{first:.1f} s{f'{last:.1f} s':>{max(width - len(f'{first:.1f} s'), 0)}}"
    return "\n".join([picture.title, *rows, "".join(under).rstrip(), ends])


def svg(picture: Picture) -> bytes:
    """Draw as SVG."""
    low, high = picture.limits()
    scale = (_HEIGHT - 40) / (high - low)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for start, end, text in picture.marks(_WIDTH):
        parts.append(
            f'<rect class="passage" x="{start}" y="20" width="{max(end - start, 1)}" '
            f'height="{_HEIGHT - 40}" fill="#fda" fill-opacity=".6">'
            f"<title>{escape(text)}</title></rect>"
        )
    path = []
    for x, column in enumerate(picture.columns(_WIDTH)):
        if column is not None:
            top, bottom = (_HEIGHT - 20 - (value - low) * scale for value in column[::-1])
            path.append(f"M{x} {top:.1f}V{max(bottom, top + 1.5):.1f}")
    first, last = picture.span
    parts += [
        f'<path d="{"".join(path)}" stroke="#1f5aa0" fill="none"/>',
        f'<text x="4" y="14">{escape(picture.title)}, {low:g} to {high:g}</text>',
        f'<text x="4" y="{_HEIGHT - 6}">{first:.1f} s</text>',
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 6}" text-anchor="end">{last:.1f} s</text>',
        "</svg>",
    ]
    return "\n".join(parts).encode()


def png(picture: Picture) -> bytes:
    """Draw as PNG (RFC 2083: 8-bit RGB, no filter); a frame, no words."""
    low, high = picture.limits()
    scale = (_HEIGHT - 21) / (high - low)
    rows = [bytearray(bytes(_WHITE) * _WIDTH) for _ in range(_HEIGHT)]

    def dot(x: int, y: int, colour: tuple[int, int, int]) -> None:
        rows[y][3 * x : 3 * x + 3] = bytes(colour)

    for start, end, _ in picture.marks(_WIDTH):
        for x in range(start, end + 1):
            for y in range(10, _HEIGHT - 10):
                dot(x, y, _BAND)
    for x in range(_WIDTH):
        dot(x, 9, _GREY)
        dot(x, _HEIGHT - 10, _GREY)
    for x, column in enumerate(picture.columns(_WIDTH)):
        if column is not None:
            top, bottom = (_HEIGHT - 11 - int((value - low) * scale) for value in column[::-1])
            for y in range(top, bottom + 1):
                dot(x, y, _BLUE)
    raw = b"".join(b"\0" + bytes(row) for row in rows)
    head = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, data)
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
