"""Ask the board at a port what it is; nothing is written."""

from citynode.bench.benchmap import UNKNOWN, Place
from citynode.bench.job import Bench
from citynode.bench.outcome import BoardError, Outcome, Step
from citynode.boards import load_board
from citynode.link.bootloader import SAFE, Bootloader, ChipFacts


def identify(bench: Bench, outcome: Outcome, before: str = "default-reset") -> ChipFacts:
    """Return chip, MAC and flash size of the board, which goes on with its program then.

    Raises LinkError.
    """
    bench.step(Step.CONNECT)
    with Bootloader(bench.port, bench.leash) as boot:
        facts = boot.connect(SAFE, before=before)
        outcome.mac, outcome.chip = facts.mac, facts.chip
        boot.reset()
    return facts


def refuse_other(port: str, place: Place, facts: ChipFacts) -> None:
    """Raise BoardError if another board is at a port than the bench map says."""
    if facts.mac != place.id:
        raise BoardError(
            f"{port} has the board {facts.mac}, the bench map says {place.id}: nothing was written",
            "bring the map up to date with 'citynode bench init', or plug that board in",
        )


def compare(port: str, place: Place, facts: ChipFacts) -> None:
    """Raise BoardError if a board is not what the bench map says of it."""
    refuse_other(port, place, facts)
    if place.platform == UNKNOWN:
        raise BoardError(
            f"the bench map does not say which board {facts.mac} at {port} is",
            "write its platform into the map (see 'citynode boards')",
        )
    board = load_board(place.platform)
    if board.chip != facts.chip:
        raise BoardError(
            f"{port} is an {facts.name}, the map's platform {board.id} has an {board.chip}",
            "correct the platform in the map",
        )
    if facts.flash_size is not None and facts.flash_size != board.flash_mib << 20:
        raise BoardError(
            f"{port} has {facts.flash_size >> 20} MiB of flash, the map's platform {board.id} has "
            f"{board.flash_mib} MiB",
            "correct the platform in the map",
        )
