"""Three days without a network: TS001 chapter 7 by what is on the air, whatever the power does."""

import pytest
from run_site import DAY, HOUR, MINUTE, MS, NS, SX1262, Site, airtime_ns, most

DAYS = 3 * DAY
# The number of a request, when behind its first instant the power goes, and for how long.
CUTS = {
    2: (20 * MS, NS),  # while it is on the air
    5: (5_600 * MS, 2 * NS),  # in its receive windows
    11: (30 * NS, 20 * NS),  # while the next one waits
    70: (400 * MS, NS),
    101: (MINUTE, 5 * MINUTE),
    138: (100 * MS, NS),
    144: (3 * HOUR, HOUR),
}


def keeps_back_off(frames):
    """Assert the limits from power-up on; return the air time (ns) of first hour, ten, and rest."""
    late = [frame for frame in frames if frame.start_ns >= 11 * HOUR]
    spent = airtime_ns(frames, 0, HOUR), airtime_ns(frames, HOUR, 11 * HOUR), airtime_ns(late)
    assert spent[0] < 36 * NS
    assert spent[1] < 36 * NS
    assert most(late, DAY) < 8.7 * NS  # in any 24 hours behind the first eleven
    return spent


@pytest.mark.slow
def test_a_node_alone_for_three_days(tmp_path):
    with Site(tmp_path, SX1262, interval_s=86400) as site:
        site.device.accept_joins = False
        requests = []

        def look(event):
            if event.kind == "sent" and event.frame.sender == site.name:
                requests.append(event.frame)
                if len(requests) in CUTS:
                    after_ns, off_ns = CUTS[len(requests)]
                    site.cut(event.at_ns + after_ns, off_ns)

        site.rack.air.observe(look)
        site.run_to(DAYS)
        first, ten, rest = keeps_back_off(requests)
        print(
            f"\n{len(requests)} requests; {first / NS:.1f} s in the first hour,"
            f" {ten / NS:.1f} s in the next ten, {rest / NS:.1f} s in"
            f" {(DAYS - 11 * HOUR) // HOUR} more"
        )
        assert requests[0].start_ns < 21 * NS
        assert len(requests) > max(CUTS)
        boots = [line for line in site.rack.events.lines if line.split(" ")[2] == "boot"]
        assert len(boots) == len(CUTS) + 1
        # It uses what it may, and all data rates to the end.
        assert min(first, ten) > 20 * NS
        assert rest > 10 * NS
        assert {frame.modulation.sf for frame in requests[-12:]} == set(range(7, 13))
        # No DevNonce comes twice.
        nonces = [int.from_bytes(frame.payload[17:19], "little") for frame in requests]
        assert nonces == sorted(set(nonces))
        site.airtime.keeps_duty_cycle(site.name)

        site.device.accept_joins = True
        site.engine.run(until=lambda: bool(site.uplinks))
        # The next request, whatever its rate: 14000 times its air time at the most.
        assert site.engine.clock.now_ns() < DAYS + 6 * HOUR
        assert site.joins == 1
        assert not site.said("Traceback")
