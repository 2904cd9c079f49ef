"""A node is given another configuration: it stays who it is, and does what it was told."""

import pytest
from citynode.wire.schema import CLIMATE


@pytest.mark.slow
@pytest.mark.requires("wifi", "bme280")
def test_a_node_is_told_to_sleep_between_samples_and_to_take_fewer(board, broker):
    before, interval_s = board.node_id, 4
    mark = board.console.mark
    board.configure(interval_s=interval_s, sleep="deep")
    assert board.node_id == before
    board.console.wait(" app: deep sleep", 60, since=mark)
    samples = []
    for _ in range(2):
        start = board.wait_start(since=board.console.mark)
        assert start.cause == "deepsleep"
        samples += board.console.wait_records(1, kind=CLIMATE, since=start.mark)[:1]
    first, second = samples
    assert (second.t - first.t) % interval_s == 0
    assert second.seq > first.seq
    broker.wait(board)
