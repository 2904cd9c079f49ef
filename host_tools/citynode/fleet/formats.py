"""Label sheets and rolls by the names on their boxes; all measures are millimetres.

Sources: glabels and public tables. What a sheet has left beside its labels is the same on both
sides.
"""

from dataclasses import dataclass

A4 = (210.0, 297.0)
LETTER = (215.9, 279.4)


@dataclass(frozen=True)
class LabelFormat:
    """A page with labels: `across` × `down` of them, `pitch` from one to the next.

    A roll is a page of the label's own size.
    """

    name: str
    maker: str
    size: tuple[float, float]
    page: tuple[float, float]
    across: int = 1
    down: int = 1
    pitch: tuple[float, float] = (0.0, 0.0)

    @property
    def per_page(self) -> int:
        """How many labels are on a page."""
        return self.across * self.down

    def place(self, number: int) -> tuple[float, float]:
        """Return where the left upper corner of a page's label is, row by row from 0."""
        row, column = divmod(number, self.across)
        counts, corner = (self.across, self.down), []
        for axis, index in enumerate((column, row)):
            used = self.size[axis] + (counts[axis] - 1) * self.pitch[axis]
            corner.append((self.page[axis] - used) / 2 + index * self.pitch[axis])
        return corner[0], corner[1]


def _roll(name: str, maker: str, width: float, height: float) -> LabelFormat:
    return LabelFormat(name, maker, (width, height), (width, height))


_ALL = (
    LabelFormat("L4731", "Avery", (25.4, 10.0), A4, 7, 27, (27.9, 10.0)),
    LabelFormat("L4732", "Avery", (35.6, 16.9), A4, 5, 16, (38.1, 16.9)),
    LabelFormat("L7651", "Avery", (38.1, 21.2), A4, 5, 13, (40.6, 21.2)),
    LabelFormat("L4770", "Avery", (45.7, 25.4), A4, 4, 10, (48.3, 25.4)),
    LabelFormat("L7159", "Avery", (63.5, 33.9), A4, 3, 8, (66.0, 33.9)),
    LabelFormat("L7160", "Avery", (63.5, 38.1), A4, 3, 7, (66.0, 38.1)),
    LabelFormat("L7163", "Avery", (99.1, 38.1), A4, 2, 7, (101.6, 38.1)),
    LabelFormat("3475", "Avery Zweckform", (70.0, 36.0), A4, 3, 8, (70.0, 36.0)),
    LabelFormat("5160", "Avery", (66.675, 25.4), LETTER, 3, 10, (69.85, 25.4)),
    LabelFormat("5163", "Avery", (101.6, 50.8), LETTER, 2, 5, (106.3625, 50.8)),
    LabelFormat("5167", "Avery", (44.45, 12.7), LETTER, 4, 20, (52.3875, 12.7)),
    _roll("DK-11201", "Brother", 90.3, 29.0),
    _roll("DK-11202", "Brother", 100.0, 62.0),
    _roll("DK-11204", "Brother", 53.9, 17.0),
    _roll("DK-11208", "Brother", 90.3, 38.0),
    _roll("DK-11209", "Brother", 62.0, 28.9),
    _roll("DK-11221", "Brother", 23.0, 23.0),
    _roll("11352", "Dymo", 54.0, 25.0),
    _roll("11354", "Dymo", 57.0, 32.0),
    _roll("11355", "Dymo", 51.0, 19.0),
    _roll("99010", "Dymo", 89.0, 28.0),
    _roll("99012", "Dymo", 89.0, 36.0),
)
FORMATS = {each.name: each for each in _ALL}

# The same size under another number, in another country.
_ALSO = {
    "30252": "99010", "30321": "99012", "30330": "11355", "30334": "11354", "30336": "11352",
    "3490": "3475", "5260": "5160", "5267": "5167", "5263": "5163", "8160": "5160", "8163": "5163",
    "8167": "5167", "L7654": "L4770",
}  # fmt: skip


def find(name: str) -> LabelFormat | None:
    """Return the format of this name, in capitals or not, with its maker's name or without."""
    last = name.split()[-1].upper() if name.strip() else ""
    return FORMATS.get(_ALSO.get(last, last))
