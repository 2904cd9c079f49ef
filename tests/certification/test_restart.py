"""What a restart leaves of the session, and the end of the certification protocol."""

import pytest
from citynode.commands import PORT as COMMAND_PORT
from citynode.commands import Command, payload
from citynode.frames import decode
from citynode.virtual.world.clock import NS
from citynode.wire.schema import EVENT, HEALTH
from laboratory import BOARDS, DEV_STATUS, IDENTITY, PORT, Lab, Up, request


def event(up):
    """Return the code of the event that an uplink brings."""
    (record,) = decode(up.payload)
    assert (up.port, record.kind) == (1, EVENT)
    return record.values["code"]


def answered(lab, up):
    """Answer what the node has to say until it is silent; return the last uplink."""
    while up.port is not None:
        options = lab.time(up) if b"\x0d" in up.commands else b""
        lab.answer(options=options)
        try:
            up = lab.hear(timeout_s=300)
        except TimeoutError:
            break
    return up


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOARDS.values(), ids=BOARDS)
def test_restarts_and_the_end_of_certification(tmp_path, kind):
    with Lab(tmp_path, kind) as lab:
        lab.accept(lab.hear())
        lab.settle(lab.hear())
        board = lab.rack.boards[0]

        # DutResetReq: a restart, which goes on with the session where it was.
        before = lab.hear()
        up = lab.ask(PORT, b"\x01")
        assert isinstance(up, Up)
        assert up.f_cnt == before.f_cnt + 1
        assert event(up) == "restart"
        up = answered(lab, up)
        with pytest.raises(TimeoutError):
            lab.hear(timeout_s=3600)  # the laboratory's interval is forgotten

        # A power cut: the same session again; counters that may have been used are left out.
        board.power_off()
        board.power_on()
        after = lab.hear()
        assert isinstance(after, Up)
        assert 0 < after.f_cnt - up.f_cnt <= 32
        assert event(after) == "restart"

        # At DR0 answers and a health record (45 bytes) have no room together: answers go first.
        unix_s = lab.engine.clock.unix_ns() // NS
        health = payload(IDENTITY, Command.HEALTH, None, unix_s)
        slow = request("LinkADRReq", data_rate=0, ch_mask=0xFF, nb_trans=1)
        up = lab.ask(COMMAND_PORT, health, DEV_STATUS * 2 + slow)
        assert (up.port, up.rate) == (None, 0)
        assert up.commands[6:].hex() == "0307" + "0d"  # a restart costs the time of day
        records = []
        while not any(record.kind == HEALTH for record in records):
            lab.answer(options=lab.time(up) if b"\x0d" in up.commands else b"")
            up = lab.hear(timeout_s=86_400)
            records += decode(up.payload) if up.port == 1 else []
        assert len(up.payload) > 40

        # DutFPort224DisableReq: a restart as well, and the port is dead for good.
        assert len(lab.restarts()) == 1
        up = lab.ask(PORT, b"\x7e", lab.time(up) if b"\x0d" in up.commands else b"")
        assert len(lab.restarts()) == 2
        answered(lab, up)
        for _ in range(2):
            board.power_off()
            board.power_on()
            up = lab.hear(timeout_s=86_400)
            assert event(up) == "restart"
            up = lab.ask(PORT, b"\x00", DEV_STATUS)
            assert (up.port, up.commands[:1]) == (None, DEV_STATUS)
            answered(lab, up)
        assert not lab.said("Traceback")
