import pytest
from laboratory import BOARDS, Lab


@pytest.fixture(scope="session", params=BOARDS)
def lab(request, tmp_path_factory):
    """A board that has joined, for many tests."""
    with Lab(tmp_path_factory.mktemp(request.param), BOARDS[request.param]) as lab:
        lab.accept(lab.hear())
        yield lab.settle(lab.hear())


@pytest.fixture
def dut(lab):
    """The laboratory with a new session: DR5, full power, eight channels, an uplink each 5 s."""
    lab.calm = False
    begin(lab)
    return lab


@pytest.fixture
def calm(lab):
    """The same for tests that leave all as it is, counters apart: it need not be a new session."""
    if not lab.calm:
        begin(lab)
    lab.calm = True
    return lab


def begin(lab):
    first = lab.rejoin()
    assert (first.f_cnt, first.rate, first.power_dbm) == (0, 5, 14)
    assert not first.confirmed
    assert "adr" in first.flags
