import pytest
from citynode.virtual.engine import Engine
from upy_bench import Board


@pytest.fixture
def engine():
    """An engine with a seed of its own."""
    engine = Engine(seed=5)
    yield engine
    engine.close()


@pytest.fixture
def make(engine):
    boards = []

    def make(chip):
        boards.append(Board(engine, chip))
        return boards[-1]

    yield make
    for board in boards:
        board.world.close()


@pytest.fixture
def board(make):
    return make("esp32")
