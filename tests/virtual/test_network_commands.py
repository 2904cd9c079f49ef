"""MAC commands and rate adaptation of the bench network server, with the firmware's MAC."""

import pytest
from air_node import Bench
from citynode.phy import mac
from citynode.virtual.air.network import Profile, adr, commands
from node.lorawan.actions import ClockSync, Deliver, LinkCheck
from radio_bench import NS

QUIET = Profile(adr=False)


@pytest.fixture
def bench():
    return Bench(profile=QUIET).joined()


def delivered(told):
    return [(event.port, event.payload) for event in told if isinstance(event, Deliver)]


def test_time_and_link_check():
    bench = Bench(gateways=2, profile=QUIET).joined()
    bench.node.mac.check_link()
    bench.node.mac.ask_time()
    told = bench.send(b"x", 1)
    (check,) = [event for event in told if isinstance(event, LinkCheck)]
    (sync,) = [event for event in told if isinstance(event, ClockSync)]
    assert check == (19, 2)  # 12 dB at SF7, which needs -7.5
    end_ns = bench.node.sent[-1][0].end_ns
    gps_ns = sync.gps_s * NS + sync.gps_256 * NS // 256
    true_ns = bench.time.unix_ns() - bench.time.now_ns() + end_ns
    true_ns += (18 - 315_964_800) * NS  # leap seconds, and the epoch of GPS
    assert 0 <= true_ns - gps_ns <= NS // 256


@pytest.mark.parametrize(
    ("name", "fields", "holds"),
    [
        ("RXTimingSetupReq", {"delay_s": 4}, {"rx1_delay_s": 4}),
        ("RXParamSetupReq",
         {"rx1_dr_offset": 3, "rx2_data_rate": 4, "frequency_hz": 868_800_000},
         {"rx1_dr_offset": 3, "rx2_rate": 4, "rx2_hz": 868_800_000}),
        ("DlChannelReq", {"channel": 0, "frequency_hz": 869_100_000},
         {"rx1_hz": {0: 869_100_000}}),
        ("LinkADRReq", {"data_rate": 3, "tx_power": 2, "ch_mask": 7, "nb_trans": 2},
         {"power": 2, "nb_trans": 2}),
        ("LinkADRReq", {"data_rate": 3, "tx_power": 2, "ch_mask": 0, "nb_trans": 2},
         {"power": 0, "nb_trans": 1}),
    ],
)  # fmt: skip
def test_what_the_device_confirms_holds_on_both_sides(bench, name, fields, holds):
    bench.device.command(name, **fields)
    bench.send(b"a", 1)
    for _ in range(4):  # the windows of later downlinks are where the device listens
        for window in (1, 2):
            bench.device.craft(f_port=7, payload=b"x", window=window)
            assert delivered(bench.send(b"b", 1)) == [(7, b"x")]
            bench.time.advance(200 * NS)
    assert {key: getattr(bench.device.session, key) for key in holds} == holds
    assert not bench.device.session.asked


def test_channels_come_and_go(bench):
    bench.device.command(
        "NewChannelReq", channel=8, frequency_hz=865_100_000, min_data_rate=0, max_data_rate=5
    )
    bench.device.command("NewChannelReq", channel=7, frequency_hz=0)
    bench.send(b"a", 1)
    bench.send(b"b", 1)
    assert bench.device.session.channel_mask == 0x17F
    assert bench.device.session.channels_hz[8] == 865_100_000


def test_a_status_is_told(bench):
    for battery, want in ((0, "externalPowerSource"), (255, "batteryLevelUnavailable")):
        bench.node.mac.commands.battery = battery
        bench.device.command("DevStatusReq")
        bench.send(b"a", 1)
        bench.send(b"b", 1)
        assert bench.of("status")[-1][want] is True
    bench.node.mac.commands.battery = 127
    bench.device.command("DevStatusReq")
    bench.send(b"a", 1)
    bench.send(b"b", 1)
    told = bench.of("status")[-1]
    assert (told["batteryLevel"], told["margin"]) == (50.0, 12)


def test_more_commands_than_fit_into_options_go_on_port_0(bench):
    for _ in range(16):
        bench.device.command("DevStatusReq")
    bench.device.enqueue(b"later", 3)
    bench.send(b"a", 1)
    assert bench.down()[-1].payload[5] & 0x1F == 0x10  # FPending, no FOpts
    assert delivered(bench.send()) == [(3, b"later")]  # the answers need port 0 as well
    assert len(bench.device.uplinks[-1].commands) == 16


@pytest.mark.parametrize(
    ("name", "fields", "raw"),
    [  # TS001-1.0.4 section 5, by hand
        ("LinkCheckAns", {"margin_db": 20, "gateways": 2}, "021402"),
        ("LinkADRReq", {"data_rate": 5, "tx_power": 1, "ch_mask": 0x00FF, "nb_trans": 1},
         "0351ff0001"),
        ("NewChannelReq", {"channel": 3, "frequency_hz": 867_100_000, "max_data_rate": 5},
         "0703184f8450"),
        ("RXTimingSetupReq", {"delay_s": 5}, "0805"),
        ("DeviceTimeAns", {"gps_s": 1, "fraction_s": 0.5}, "0d0100000080"),
    ],
)  # fmt: skip
def test_commands_as_bytes(name, fields, raw):
    assert commands.write(name, **fields).hex() == raw
    (read,) = mac.read(bytes.fromhex(raw), uplink=False)
    assert {key: read.fields[key] for key in fields} == fields


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("LinkCheckReq", {}),
        ("DutyCycleReq", {"max_duty_cycle": 16}),
        ("DlChannelReq", {"frequency_hz": 50}),
        ("DevStatusReq", {"battery": 1}),
    ],
)
def test_commands_that_there_are_not(name, fields):
    with pytest.raises(ValueError, match=name):
        commands.write(name, **fields)


# -- rate adaptation ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snr", "rate", "power", "want"),
    [  # (SNR - required - 10) / 3 steps: rate first, then power
        (7.5, 5, 0, (5, 1)),
        (4.5, 5, 0, (5, 0)),
        (12.0, 0, 0, (5, 2)),
        (-5.0, 0, 0, (1, 0)),
        (12.0, 5, 6, (5, 7)),
        (12.0, 5, 7, (5, 7)),
        (-7.5, 5, 5, (5, 2)),
        (-20.0, 0, 1, (0, 0)),
    ],
)
def test_the_recommended_algorithm(snr, rate, power, want):
    assert adr.adapt([-20.0, snr], rate, power, 5, 7) == want


def test_what_a_device_refuses_is_not_asked_for_again():
    bench = Bench(min_power_dbm=4).joined()  # three steps below 14 dBm are 8, two more 4
    for _ in range(150):
        bench.send(b"x", 1)
        bench.time.advance(300 * NS)
    asked = [frame for frame in bench.down() if b"\x03" in frame.payload[8:9]]
    assert bench.device.session.power == bench.node.mac.session.power == 5
    assert len(asked) == 3  # 3, then 6, which it cannot, then 5
    assert not bench.device.session.asked


@pytest.mark.parametrize(
    ("loss_db", "lost_joins", "want"),
    [  # SNR at the gateway is 133 dB less the loss and less 2 dB for each step of power, at most 12
        (100, 0, (5, 7)),
        (124, 0, (5, 2)),
        (136, 0, (5, 0)),
        (133, 5, (3, 0)),
        (147, 0, (2, 0)),
    ],
)
def test_adr_settles(loss_db, lost_joins, want):
    bench = Bench()
    bench.air.links.attenuate("node-0", "gateway-0", loss_db)
    bench.air.lose(lambda frame: frame.sender == "node-0", lost_joins)
    bench.joined()
    seen = []
    for _ in range(90):
        bench.send(b"x", 1)
        bench.time.advance(300 * NS)
        seen.append((bench.node.mac.rate, bench.node.mac.session.power))
    assert set(seen[-20:]) == {want}
    assert (bench.device.uplinks[-1].rate, bench.device.session.power) == want
