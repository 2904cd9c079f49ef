"""The rack: boards that are kept in a folder are the same boards next time."""

import pytest
from citynode.errors import CitynodeError
from citynode.virtual.rack import Rack

BOARD = "xiao-esp32c3"


def test_a_board_that_was_kept_is_the_same_board_whatever_the_seed(tmp_path):
    with Rack(BOARD, seed=1, state_dir=tmp_path) as rack:
        board = rack.boards[0]
        rack.call(lambda: board.flash.program(0x300000, b"kept"))
        mac = board.mac
        with pytest.raises(CitynodeError, match="in use by other virtual boards"):
            Rack(BOARD, seed=1, state_dir=tmp_path).open()
    with Rack(BOARD, seed=2, state_dir=tmp_path) as rack:
        board = rack.boards[0]
        assert board.mac == mac
        assert rack.call(lambda: board.flash.read(0x300000, 4)) == b"kept"


def test_the_seed_decides_who_a_new_board_is():
    macs = []
    for seed in (1, 1, 2):
        with Rack(BOARD, seed=seed) as rack:
            macs.append(rack.boards[0].mac)
    assert macs[0] == macs[1] != macs[2]
