"""Labels as PDF: QR code, node id, DevEUI and site; the same nodes give the same bytes."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import segno
from fpdf import FPDF
from fpdf.errors import FPDFException

from citynode.errors import CitynodeError
from citynode.fleet import tr005
from citynode.fleet.formats import LabelFormat
from citynode.fleet.node import Node

_QUIET = 4  # modules that stay white around a code (ISO/IEC 18004, 9.1)
_MARGIN = 1.0  # mm between text and the label's edge
_LINE = 1.2  # of the size of the type
_POINT = 25.4 / 72
_MOST = {"name": 14.0, "code": 10.0, "site": 9.0}  # points
_LEAST = 3.0
_TINY = 5.0  # a code that would be smaller goes on two lines
_NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
_FONT = "text"


@dataclass(frozen=True)
class Label:
    """What is on a label: `qr` in the code, `code` is read and typed by people."""

    qr: str
    name: str
    code: str
    site: str = ""


@dataclass(frozen=True)
class Print:
    """How it is printed: labels to leave free, a correction in mm, a frame, a TrueType font."""

    skip: int = 0
    offset: tuple[float, float] = (0.0, 0.0)
    frame: bool = False
    font: Path | None = None


def label_of(node: Node, options: tr005.Options, *, serial: bool = False) -> Label:
    """Return the label of a node; `serial` puts its id into the code as the serial number.

    A node without LoRaWAN has its id in the code, and its MAC beneath. Raises ValueError as TR005.
    """
    entry = node.entry
    if entry.dev_eui is None:
        qr = node.node_id.upper()
    else:
        number = node.node_id.upper() if serial else None
        qr = tr005.text(entry.dev_eui, entry.join_eui or "0" * 16, options, number)
    return Label(qr, node.node_id, (entry.dev_eui or entry.mac or "").upper(), entry.site or "")


def render(labels: Sequence[Label], form: LabelFormat, how: Print) -> bytes:
    """Return the PDF; raises CitynodeError for a font that cannot be used."""
    pdf = FPDF(unit="mm", format=form.page)
    pdf.set_creation_date(_NO_DATE)
    pdf.set_title("citynode labels")
    pdf.set_auto_page_break(False)
    pdf.set_margin(0)
    pdf.c_margin = 0
    if how.font is not None:
        _add_font(pdf, how.font)
    for number, label in enumerate(labels, how.skip):
        place = number % form.per_page
        if not place or number == how.skip:
            pdf.add_page()
        x, y = form.place(place)
        _draw(pdf, label, form, (x + how.offset[0], y + how.offset[1]), how)
    return bytes(pdf.output())


def _add_font(pdf: FPDF, path: Path) -> None:
    try:
        pdf.add_font(_FONT, fname=path)
    except (OSError, FPDFException, ValueError, KeyError):
        raise CitynodeError(f"{path} is no font", "give --font a TrueType file (.ttf)") from None


def _draw(
    pdf: FPDF, label: Label, form: LabelFormat, corner: tuple[float, float], how: Print
) -> None:
    (x, y), (width, height) = corner, form.size
    if how.frame:
        pdf.set_line_width(0.1)
        pdf.rect(x, y, width, height)
    beside = width >= 1.4 * height
    side = min(width * 0.5, height) if beside else min(width, height * 0.7)
    _draw_qr(
        pdf, label.qr, x if beside else x + (width - side) / 2, y, side, height if beside else side
    )
    if beside:
        _draw_text(pdf, label, x + side, y, width - side - _MARGIN, height, how)
    else:
        _draw_text(pdf, label, x + _MARGIN, y + side, width - 2 * _MARGIN, height - side, how)


def _draw_qr(pdf: FPDF, text: str, x: float, y: float, side: float, height: float) -> None:
    """Draw the code with its quiet zone into a square, in the middle of a height."""
    rows = [bytes(row) for row in segno.make_qr(text, error="m", boost_error=False).matrix]
    module = side / (len(rows) + 2 * _QUIET)
    left, top = x + _QUIET * module, y + (height - side) / 2 + _QUIET * module
    for number, row in enumerate(rows):
        start = 0
        while (start := row.find(1, start)) >= 0:
            end = row.find(0, start)
            end = len(row) if end < 0 else end
            pdf.rect(
                left + start * module, top + number * module, (end - start) * module, module, "F"
            )
            start = end


def _draw_text(
    pdf: FPDF, label: Label, x: float, y: float, width: float, height: float, how: Print
) -> None:
    lines = [("name", label.name), ("code", label.code), ("site", label.site)]
    lines = [(kind, _printable(text, how)) for kind, text in lines if text]
    if label.code and _fitting(pdf, "code", label.code, width, how) < _TINY:
        half = len(label.code) // 2
        lines[1:2] = [("code", label.code[:half]), ("code", label.code[half:])]
    sizes = [min(_MOST[kind], _fitting(pdf, kind, text, width, how)) for kind, text in lines]
    most = max(sizes)
    # Where height is short, the largest gives way.
    while sum(sizes) * _LINE * _POINT > height - _MARGIN and most > _LEAST:
        most -= 0.25
        sizes = [min(size, most) for size in sizes]
    top = y + (height - sum(sizes) * _LINE * _POINT) / 2
    for (kind, text), size in zip(lines, sizes, strict=True):
        _set_font(pdf, kind, size, how)
        pdf.set_xy(x, top)
        pdf.cell(width, size * _LINE * _POINT, _cut(pdf, text, width))
        top += size * _LINE * _POINT


def _fitting(pdf: FPDF, kind: str, text: str, width: float, how: Print) -> float:
    """Return the points in which a text fits."""
    _set_font(pdf, kind, 10, how)
    needed = pdf.get_string_width(text) or 1.0
    return max(_LEAST, 10 * width / needed * 0.98)


def _cut(pdf: FPDF, text: str, width: float) -> str:
    """Return a text that is as long as there is room for."""
    if pdf.get_string_width(text) <= width:
        return text
    while text and pdf.get_string_width(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _set_font(pdf: FPDF, kind: str, size: float, how: Print) -> None:
    if kind == "code":
        pdf.set_font("Courier", size=size)
    elif how.font is not None:
        pdf.set_font(_FONT, size=size)
    else:
        pdf.set_font("Helvetica", "B" if kind == "name" else "", size)


def _printable(text: str, how: Print) -> str:
    """Return what the built-in fonts have: Latin-1; what can lose its marks loses them."""
    text = "".join(each if each.isprintable() else " " for each in text)
    if how.font is not None:
        return text
    return "".join(_latin(each) for each in text)


def _latin(letter: str) -> str:
    for form in (letter, unicodedata.normalize("NFKD", letter)):
        kept = form.encode("latin-1", "ignore").decode("latin-1")
        if kept:
            return kept
    return "?"
