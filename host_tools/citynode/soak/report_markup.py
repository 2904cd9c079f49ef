"""HTML elements by ElementTree: whatever a name or a text holds, it can only become text."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

Child = Element | str | float | None | Iterable["Child"]

_LONGEST = 400
_NAME = 32  # letters of the longest node id that a board takes


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """Return an element; `text_anchor` is the attribute text-anchor, `class_` is class."""
    element = Element(name)
    for key, value in attributes.items():
        if value is not None:
            shown = printable(value) if isinstance(value, str) else number(value)
            element.set(key.rstrip("_").replace("_", "-"), shown)
    _add(element, children)
    return element


def printable(text: str) -> str:
    """Return a text with escapes for all that does not print, or that turns other text around."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def number(value: float) -> str:
    """Return a number for an attribute: at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def page(root: Element) -> str:
    """Return the text of a whole page."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def raw_style(text: str) -> Element:
    """Return a style element; `text` is ours, and stays as it is."""
    element = Element("style")
    element.text = text
    return element


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Child]], class_: str | None = None
) -> Element:
    """Return a table; the first cell of each row names it."""
    body = [
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in cells))
        for first, *cells in rows
    ]
    top = tag("tr", *(tag("th", text, scope="col") for text in head))
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", top),
        tag("tbody", *body),
        class_=class_,
    )


def link(text: str, anchor: str | None) -> Element:
    """Return a name that leads to its place in the page, if it has one."""
    look = "name" if len(text) <= _NAME else "name long"
    if anchor is None:
        return tag("span", text, class_=look)
    return tag("a", text, href=f"#{anchor}", class_=look)


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _add(element: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            element.append(child)
        elif isinstance(child, str | int | float):
            text = number(child) if not isinstance(child, str) else printable(child)
            if element.tag != "code":  # which is there to be copied
                text = _cut(text)
            if len(element):
                element[-1].tail = (element[-1].tail or "") + text
            else:
                element.text = (element.text or "") + text
        else:
            _add(element, child)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
