"""What a node has accepted arrives, whatever goes away meanwhile."""

import pytest
from citynode.wire.schema import CLIMATE

pytestmark = pytest.mark.requires("wifi")


@pytest.fixture
def board(board, broker):
    """A board whose records arrive."""
    board.console.wait_records(1)
    broker.wait(board)
    return board


@pytest.mark.slow
@pytest.mark.requires("wifi-cut")
def test_the_access_point_goes_and_comes_back(board, broker, network):
    with network.wifi_away():
        board.console.wait("W .* wifi: lost", 30)
        board.console.wait_records(1, kind=CLIMATE, since=board.console.mark)
    board.console.wait(" wifi: connected", 60)
    broker.wait(board)


@pytest.mark.requires("broker-cut")
def test_the_broker_goes_and_comes_back_and_the_board_is_reset_meanwhile(board, broker):
    with broker.away():
        board.console.wait("W .* mqtt: ", 90)
        board.console.wait_records(1, kind=CLIMATE, since=board.console.mark)
        mark = board.console.mark
        board.reset()
        start = board.wait_start(since=mark)
        board.console.wait_records(2, since=start.mark)
    broker.wait(board)


@pytest.mark.slow
@pytest.mark.requires("broker-cut", "power-cut")
def test_the_power_goes_and_comes_back_with_records_not_yet_delivered(board, broker):
    with broker.away():
        board.console.wait("W .* mqtt: ", 90)
        board.console.wait_records(1, kind=CLIMATE, since=board.console.mark)
        mark = board.console.mark
        board.power_cycle()
        start = board.wait_start(60, since=mark)
        assert start.cause == "poweron"
        board.console.wait_records(2, since=start.mark)
    broker.wait(board)
