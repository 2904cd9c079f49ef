import math
import socket
import struct

import pytest
from citynode.errors import CitynodeError
from citynode.virtual.engine import Engine
from citynode.virtual.world import World
from citynode.virtual.world.network import Network
from citynode.virtual.world.ntp import answer, timestamp
from citynode.virtual.world.weather import Conditions, Weather
from citynode.virtual.world.wifi import Wifi
from hypothesis import given
from hypothesis import strategies as st

NS = 1_000_000_000
T0 = 1_717_192_800.0  # 2024-06-01 00:00 in Bochum
BOCHUM = """datetime,outdoor_temperature,outdoor_humidity,wind_wind_speed,wind_wind_direction,\
pressure_relative,pressure_absolute
2024-06-01 00:05:00+02:00,14.2,88.0,3.6,350.0,1010.0,998.2
2024-06-01 00:00:00+02:00,14.0,90.0,7.2,10.0,1010.0,998.0
2024-06-01 00:10:00+02:00,14.4,,3.6,10.0,1010.0,998.4
2024-06-01 00:15:00+02:00,--,80.0,,20.0,1010.0,998.6
2024-06-01 00:20:00+02:00,15.0,80.0,,20.0,1010.0,998.6

2024-06-01 00:25:00+02:00,15.5,79.0,,20.0,1010.0,998.5
"""


@pytest.fixture
def csv(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "weather.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


@pytest.fixture
def engine():
    engine = Engine(seed=1)
    yield engine
    engine.close()


def test_a_station_file_is_read_in_our_units(csv):
    weather = Weather.from_csv(csv(BOCHUM))
    assert (weather.start_s, weather.end_s) == (T0, T0 + 1500)
    first = weather.at(T0)
    assert first == Conditions(14.0, 90.0, 99_800.0, wind_ms=2.0, wind_from_deg=10.0)
    between = weather.at(T0 + 150)
    assert between.temperature_c == pytest.approx(14.1)
    assert between.humidity_pct == pytest.approx(89.0)
    assert between.pressure_pa == pytest.approx(99_810.0)
    assert between.wind_ms == pytest.approx(1.5)
    assert between.wind_from_deg % 360 == pytest.approx(0.0, abs=1e-6)  # through north


def test_a_gap_has_no_weather(csv):
    weather = Weather.from_csv(csv(BOCHUM))
    assert weather.at(T0 + 300).temperature_c == 14.2
    for second in (301, 600, 750, 900, 1199):
        assert weather.at(T0 + second) is None
    assert weather.at(T0 + 1200).temperature_c == 15.0
    assert weather.at(T0 + 1350).temperature_c == pytest.approx(15.25)
    assert weather.at(T0 + 1350).wind_ms is None
    for second in (-1, 1501):
        assert weather.at(T0 + second) is None


def test_our_own_columns_and_times_without_offset(csv):
    path = csv(
        "time,temperature_c,humidity_pct,pressure_pa\n2024-05-31T22:00:00,1,2,100000\n", "utf-8-sig"
    )
    assert Weather.from_csv(path).at(T0) == Conditions(1.0, 2.0, 100_000.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column for time"),
        ("time,temperature_c,humidity_pct\n", "pressure_pa"),
        ("time,temperature_c,humidity_pct,pressure_pa\n", "no complete sample"),
        ("time,temperature_c,humidity_pct,pressure_pa\nyesterday,1,2,3\n", "line 2: no time"),
        ("time,temperature_c,humidity_pct,pressure_pa\n\n2024-06-01,,,\n", "no complete sample"),
    ],
)
def test_other_files_are_refused(csv, text, reason):
    with pytest.raises(CitynodeError, match=reason):
        Weather.from_csv(csv(text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CitynodeError, match="No such file"):
        Weather.from_csv(tmp_path / "nothing.csv")
    (tmp_path / "latin.csv").write_bytes(b"time,\xfc\n")
    with pytest.raises(CitynodeError, match="cannot read"):
        Weather.from_csv(tmp_path / "latin.csv")


@given(st.text(alphabet="time,temperature_c0123456789-: \n\"'humidity_pctpressure_pa.;\0\r"))
def test_any_text_gives_weather_or_a_typed_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    head = "time,temperature_c,humidity_pct,pressure_pa\n"
    for content in (text, head + text, head + "2024-06-01 00:00:00," + text):
        path.write_text(content, encoding="utf-8", newline="")
        try:
            weather = Weather.from_csv(path)
        except CitynodeError:
            continue
        assert weather.at(weather.start_s) is not None


def month(samples=8640):
    return Weather.from_samples(
        (T0 + 300 * i, Conditions(20.0, 50.0, 90_000.0 + i)) for i in range(samples)
    )


def test_a_record_that_covers_the_date_is_not_moved():
    weather = month()
    assert weather.replayed(T0 + 86_400) is weather


@pytest.mark.parametrize("days", [-400.3, 31.0, 900.7])
def test_another_is_moved_by_whole_days_and_starts_again(days):
    now = T0 + days * 86_400
    weather = month().replayed(now)
    seen = weather.at(now)
    # At this time of day, on the first or second day of the record.
    assert (now - T0) % 86_400 == pytest.approx((seen.pressure_pa - 90_000) * 300 % 86_400)
    assert seen.pressure_pa - 90_000 < 2 * 288
    later = weather.at(now + 30 * 86_400)
    assert later.pressure_pa == pytest.approx(seen.pressure_pa)
    assert weather.at(now + 3600).pressure_pa == pytest.approx(seen.pressure_pa + 12)


def test_a_short_record_begins_now():
    now = T0 + 1e8 + 12_345
    weather = month(24).replayed(now)
    assert weather.at(now).pressure_pa == pytest.approx(90_000.0)
    assert weather.at(now + 3 * 3600) is None
    assert weather.at(now + 86_400).pressure_pa == pytest.approx(90_000.0)


@given(seed=st.integers(0, 2**32), unix_s=st.floats(0, 4e9))
def test_made_up_weather_is_air_and_repeats(seed, unix_s):
    air = Weather.synthetic(seed).at(unix_s)
    assert -25 < air.temperature_c < 45
    assert 0 <= air.humidity_pct <= 100
    assert 95_000 < air.pressure_pa < 105_000
    assert air.rain_mm_h >= 0
    assert 0 <= air.wind_ms <= air.gust_ms
    assert 0 <= air.wind_from_deg < 360
    assert air.solar_wm2 >= 0
    assert Weather.synthetic(seed).at(unix_s) == air


def test_made_up_weather_has_days_and_seasons():
    def mean(start, end, hour):
        times = range(start, end, 86_400)
        return sum(weather.at(t + hour * 3600).temperature_c for t in times) / len(times)

    weather = Weather.synthetic(5)
    january, july = 1_704_067_200, 1_719_792_000
    assert mean(july, july + 30 * 86_400, 12) > mean(january, january + 30 * 86_400, 12) + 10
    assert mean(july, july + 30 * 86_400, 14) > mean(july, july + 30 * 86_400, 3) + 4
    assert weather.at(july) != Weather.synthetic(6).at(july)


def test_the_world_sees_its_weather_at_any_time_of_the_engine(engine):
    engine.clock._wall_start_ns = round(T0 * NS)
    world = World(engine, month())
    assert world.air(300 * NS).pressure_pa == pytest.approx(90_001)
    assert world.conditions().pressure_pa == pytest.approx(90_000, abs=0.1)
    world.close()


def test_the_default_access_point_and_more(engine):
    world = World(engine, wifi={"Zuhause": "geheim12"})
    assert [point.ssid for point in world.wifi.audible()] == ["citynode-bench", "Zuhause"]
    assert world.wifi.find("citynode-bench").password == "bochum-bench"
    assert world.wifi.find("elsewhere") is None
    world.close()


def test_the_strongest_of_a_network_is_found():
    wifi = Wifi()
    told = []
    wifi.listen(lambda: told.append(True))
    far = wifi.add("mesh", rssi=-80, bssid=b"far---")
    near = wifi.add("mesh", rssi=-50, bssid=b"near--")
    assert wifi.find("mesh") is near
    assert wifi.find("mesh", b"far---") is far
    wifi.change(near, on=False)
    assert wifi.find("mesh") is far
    wifi.change(far, rssi=-95)
    assert wifi.find("mesh") is None
    assert len(told) == 4


def test_names_lead_to_the_machine():
    network = Network()
    network.register("Broker.bench", "localhost", 1883)
    network.register("any.bench")
    address = network.resolve("broker.bench.")
    assert network.map("BROKER.bench", 1883) == ("127.0.0.1", 1883)
    assert network.map(address, 8883) == ("127.0.0.1", 1883)
    assert network.map("any.bench", 4711) == ("127.0.0.1", 4711)
    network.register("broker.bench", "127.0.0.1", 2000)
    assert network.resolve("broker.bench") == address
    assert network.map(address, 1) == ("127.0.0.1", 2000)
    network.unregister("broker.bench")
    assert network.resolve("broker.bench") is None
    assert network.map(address, 1883) is None
    assert network.map("127.0.0.1", 80) is None
    assert len({network.lease() for _ in range(300)} | {address}) == 301
    with pytest.raises(CitynodeError, match="has no address"):
        network.register("x.bench", "no such host.invalid")


def test_an_address_can_be_registered():
    network = Network()
    network.register("192.168.1.20", "127.0.0.1", 1883)
    assert network.map("192.168.1.20", 1883) == ("127.0.0.1", 1883)


def test_ntp_is_there_for_any_name():
    network = Network()
    assert network.resolve("pool.ntp.org", 123) is None
    network.serve_ntp(4000)
    assert network.resolve("pool.ntp.org", 123)
    assert network.map("pool.ntp.org", 123) == ("127.0.0.1", 4000)
    assert network.map("1.2.3.4", 123) == ("127.0.0.1", 4000)
    assert network.resolve("pool.ntp.org", 80) is None


def test_ntp_timestamps():
    assert timestamp(0) == 2_208_988_800 << 32
    assert timestamp(NS // 2) & 0xFFFFFFFF == 1 << 31
    # Era 1 begins on 7 February 2036 at 06:28:16.
    assert timestamp(2_085_978_496 * NS) == 0


@given(packet=st.binary(max_size=100), unix_ns=st.integers(0, 2**62))
def test_ntp_answers_clients_only(packet, unix_ns):
    reply = answer(packet, unix_ns)
    client = len(packet) >= 48 and packet[0] & 7 == 3 and 1 <= packet[0] >> 3 & 7 <= 4
    assert (reply is not None) == client
    if reply is not None:
        assert len(reply) == 48
        assert reply[0] & 7 == 4
        assert reply[0] >> 6 == 0
        assert reply[24:32] == packet[40:48]
        seconds, fraction = struct.unpack(">II", reply[40:48])
        true = unix_ns / NS + 2_208_988_800
        assert (seconds + fraction / 2**32 - true) % 2**32 % (2**32 - 1e-3) == pytest.approx(
            0, abs=1e-3
        )


def test_the_time_server_tells_the_worlds_time(engine):
    engine.clock._wall_start_ns = round(T0 * NS)
    world = World(engine)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", world.ntp.port))
        client.send(b"garbage")
        client.send(b"\x23" + bytes(39) + b"nonce...")
        engine.run(until=engine.clock.now_ns() + 50_000_000)
        reply = client.recv(100)
        assert reply[24:32] == b"nonce..."
        seconds = struct.unpack(">I", reply[40:44])[0] - 2_208_988_800
        assert math.isclose(seconds, T0, abs_tol=5)
        world.ntp.silent = True
        client.send(b"\x23" + bytes(47))
        engine.run(until=engine.clock.now_ns() + 50_000_000)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(100)
    world.close()
