"""What a node does on any bench: it starts, samples, and delivers."""

import pytest
from citynode.wire.schema import CLIMATE, EVENT


def test_it_starts_as_itself_after_a_reset(board):
    mark = board.console.mark
    board.reset()
    start = board.wait_start(since=mark)
    assert start.cause in ("poweron", "hard")
    (restart, *_) = board.console.wait_records(1, since=start.mark)
    assert (restart.kind, restart.values["code"]) == (EVENT, "restart")


@pytest.mark.requires("bme280")
def test_it_samples(board):
    records = board.console.wait_records(2, kind=CLIMATE)
    assert len({record.seq for record in records}) == len(records)
    for record in records:
        assert not record.faults
        assert -40 <= record.values["temperature_c"] <= 85
        assert 0 <= record.values["humidity_pct"] <= 100
        assert 30_000 <= record.values["pressure_pa"] <= 110_000


@pytest.mark.requires("wifi")
def test_it_delivers_what_it_has_accepted(board, broker):
    accepted = board.console.wait_records(2)
    arrived = {record.seq: record for record in broker.wait(board)}
    assert [arrived[record.seq].values for record in accepted] == [r.values for r in accepted]
