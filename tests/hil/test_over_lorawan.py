"""A node on LoRaWAN: it joins, and what it has accepted arrives, with the gateway away and back."""

import pytest
from citynode.wire.schema import CLIMATE

pytestmark = [pytest.mark.slow, pytest.mark.requires("lora", "lorawan")]


@pytest.mark.requires("lorawan-cut", "bme280")
def test_the_gateway_goes_and_comes_back(board, broker, network):
    board.console.wait_records(1, 60, kind=CLIMATE)
    broker.wait(board, 180)
    with network.lorawan_away():
        board.console.wait_records(1, 60, kind=CLIMATE, since=board.console.mark)
    broker.wait(board, 240)
