"""A day of the real firmware on the air: the law's duty cycle by sub-band, and the day's budget."""

import pytest
from citynode.commands import Command
from citynode.virtual.air.network import Profile
from run_site import DAY, HOUR, MINUTE, NS, SX1262, SX1276, Site, airtime_ns, most

# A node so far away that its gateway hears SF12 only, and it hears the gateway.
FAR_DB = 150.8
# One channel in each sub-band in which there is none after a join.
MORE = {8: 863_500_000, 9: 868_900_000, 10: 869_525_000, 11: 869_850_000}
JOIN_CHANNELS, MILLE_CHANNEL, ALL_CHANNELS = 0x0007, 0x0200, 0x0FFF
MILLE_HZ = MORE[9]
LONGEST_NS = round(2.8 * NS)

pytestmark = pytest.mark.slow


def use_channels(site, rate, mask, more=()):
    """Have the network give the node channels with what it answers next."""
    for index in more:
        site.device.command(
            "NewChannelReq", channel=index, frequency_hz=MORE[index], min_data_rate=0,
            max_data_rate=5,
        )  # fmt: skip
    site.device.command("LinkADRReq", data_rate=rate, tx_power=0, ch_mask=mask, nb_trans=1)


def cut_after_sending(site, hz):
    """Cut the power a minute behind the next frame on a channel; a full ledger would send again."""
    done = []

    def look(event):
        if event.kind == "sent" and on([event.frame], hz):
            if not done:
                site.cut(event.at_ns + MINUTE)
            done.append(event.frame)

    site.rack.air.observe(look)
    return done


def on(frames, hz, start_ns=0):
    """Return the frames of a channel from a time on; radios have steps of their own."""
    return [f for f in frames if abs(f.modulation.freq_hz - hz) < 1000 and f.start_ns >= start_ns]


def test_a_slow_node_that_may_use_the_air_up_to_the_law(tmp_path):
    far = {"uplink": {"airtime_s_per_day": 864}}
    with Site(tmp_path, SX1276, profile=Profile(adr=False), **far) as site:
        site.rack.air.links.attenuate(site.name, site.gateway.name, FAR_DB)
        site.run_to(30 * MINUTE)
        use_channels(site, 0, ALL_CHANNELS, MORE)
        site.cut(4 * HOUR)
        site.run_to(8 * HOUR)
        use_channels(site, 0, MILLE_CHANNEL)
        site.run_to(8.2 * HOUR)
        after_cut = cut_after_sending(site, MILLE_HZ)
        site.run_to(16 * HOUR)
        use_channels(site, 0, JOIN_CHANNELS)
        site.command(Command.INTERVAL, 60)
        for hour in (21.0, 21.3, 21.6, 22.0):
            site.cut(hour * HOUR)
        site.run_to(DAY)
        assert site.joins == 1
        assert site.faults == []
        assert not site.said("Traceback")
        used = site.airtime.keeps_duty_cycle(site.name)
        assert all(used)
        assert {f.modulation.sf for f in site.frames if f.start_ns > HOUR} == {12}
        assert airtime_ns(site.frames) <= 864 * NS
        # The limits were near enough to matter, also in the hours around the power cuts.
        assert len(after_cut) > 1
        assert most(on(site.frames, MILLE_HZ), HOUR) > 0.5 * 0.001 * HOUR
        join_band = [f for f in site.frames if 868_000_000 < f.modulation.freq_hz < 868_600_000]
        assert most(join_band, HOUR) > 0.6 * 0.01 * HOUR
        # They come to the network for all that.
        assert len(site.uplinks) > 0.9 * len(site.frames) - 10


@pytest.mark.parametrize(("kind", "rate"), [(SX1262, 0), (SX1276, 5)])
def test_thirty_seconds_a_day(tmp_path, kind, rate):
    with Site(tmp_path, kind, profile=Profile(adr=False)) as site:
        if rate == 0:
            site.rack.air.links.attenuate(site.name, site.gateway.name, FAR_DB)
        site.run_to(12 * HOUR)
        # At DR5 the other half of the day has one channel, where the law is the narrower limit.
        if rate == 5:
            use_channels(site, rate, MILLE_CHANNEL, (9,))
        site.cut(15.01 * HOUR)
        site.run_to(DAY)
        assert site.joins == 1
        assert site.faults == []
        assert not site.said("Traceback")
        site.airtime.keeps_duty_cycle(site.name)
        # A power cut loses the account of the day: the node then begins with an eighth of it.
        assert most(site.frames, DAY) <= 30 * NS + LONGEST_NS + 30 * NS // 8
        assert airtime_ns(site.frames, end_ns=15 * HOUR) <= 30 * NS
        if rate == 5:
            narrow = on(site.frames, MILLE_HZ, 13 * HOUR)
            assert narrow == [f for f in site.frames if f.start_ns >= 13 * HOUR]
            assert most(narrow, 6 * HOUR) > 0.15 * 0.001 * 6 * HOUR
