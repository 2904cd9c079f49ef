"""The boards of a bench as tests see them: what each can do, and which one a test gets. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from citynode.boards import Board
from citynode.errors import CitynodeError

# What of the world around a board a bench may be able to take away.
CUTS = ("power", "wifi", "broker", "lorawan")


@dataclass(frozen=True)
class Slot:
    """One board of a bench.

    `name` is unique, `board` the id of its board file, `serial` its port and `mac` 12 hex digits
    where they are known before the board is met; `fixtures` are what hangs on it, `networks` those
    in its reach, `cuts` what of CUTS can be taken away, `baud` the fastest its line bears.
    """

    name: str
    board: str
    serial: str | None = None
    mac: str | None = None
    fixtures: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    baud: int | None = None

    def features(self, board: Board) -> frozenset[str]:
        """Return the words of `requires` that this board fulfils."""
        found = {self.board, board.chip, *self.networks, *(f"{name}-cut" for name in self.cuts)}
        found |= {fixture.partition("@")[0] for fixture in self.fixtures}
        if board.radio is not None:
            found |= {"lora", board.radio.chip}
        for part in ("battery", "led"):
            if getattr(board, part) is not None:
                found.add(part)
        if board.psram_mib:
            found.add("psram")
        return frozenset(found)


@dataclass(frozen=True)
class Wish:
    """What a test asks for: features, and how many boards that have them."""

    features: tuple[str, ...] = ()
    boards: int = 1


class Dealer:
    """Chooses boards for tests; the same tests in the same order get the same boards.

    `features` has those of each slot by its name. With `spread` tests that several boards suit
    take turns on them.
    """

    def __init__(
        self, slots: Sequence[Slot], features: Mapping[str, frozenset[str]], *, spread: bool
    ) -> None:
        self._slots = slots
        self._features = features
        self._spread = spread
        self._used = dict.fromkeys((slot.name for slot in slots), 0)

    def fitting(self, wish: Wish, board: str | None = None) -> list[Slot]:
        """Return the slots that suit, of one kind of board (or slot name) if that is given."""
        return [
            slot
            for slot in self._slots
            if board in (None, slot.board, slot.name)
            and self._features[slot.name].issuperset(wish.features)
        ]

    def deal(self, wish: Wish, board: str | None = None) -> list[Slot]:
        """Return as many slots as are wished for, none if there are not so many."""
        found = self.fitting(wish, board)
        if self._spread:
            found.sort(key=lambda slot: self._used[slot.name])  # stable: the order of the bench
        if len(found) < wish.boards:
            return []
        for slot in found[: wish.boards]:
            self._used[slot.name] += 1
        return found[: wish.boards]

    def refusal(self, wish: Wish, board: str | None = None) -> str:
        """Return why nothing was dealt."""
        of = "" if board is None else f" ({board})"
        if not self._slots:
            return "the bench has no board that is connected"
        wanted = ", ".join(wish.features) or "anything"
        if wish.boards > 1:
            return f"{wish.boards} boards with {wanted} are needed{of}, the bench has fewer"
        known = frozenset().union(*self._features.values())
        unheard = [name for name in wish.features if name not in known]
        if unheard:
            return f"no board of the bench has {', '.join(unheard)}{of}"
        return f"no board of the bench has all of {wanted}{of}"


def groups(used: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return the group of each slot, a slot's name, so that those of one test are in one group."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for names in used:
        first = root(names[0])
        for name in names[1:]:
            parent[root(name)] = first
    return {name: root(name) for name in parent}


def check_unique(slots: Sequence[Slot]) -> Sequence[Slot]:
    """Return the slots; raises CitynodeError if two have the same name or port."""
    for what in ("name", "serial"):
        seen = [value for slot in slots if (value := getattr(slot, what)) is not None]
        for value in seen:
            if seen.count(value) > 1:
                raise CitynodeError(f"{value} is there twice", "name each board once")
    return slots
