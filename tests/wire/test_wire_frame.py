"""Frames: sizes, units, time, faults, growth of the schema; runs on CPython and on MicroPython."""

import binascii

from citynode.wire import frame, schema
from citynode.wire.cbor import UNDEFINED
from citynode.wire.frame import FrameError
from citynode.wire.schema import CLIMATE, EVENT, HEALTH, RECORDS, TRAFFIC, WEATHER
from wire_tools import error_of, put

NOON = 1750000000

CLIMATE_VALUES = {
    "temperature_c": 21.37,
    "humidity_pct": 48.2,
    "pressure_pa": 101325,
    "co2_ppm": 612,
    "pm25_ugm3": 7.9,
    "pm10_ugm3": 12.4,
    "battery_v": 3.91,
}

TRAFFIC_VALUES = {
    "interval_s": 300,
    "bikes_1": 11,
    "cars_1": 142,
    "heavy_1": 6,
    "bikes_2": 4,
    "cars_2": 118,
    "heavy_2": 9,
    "speed_1_kmh": 43.5,
    "speed_2_kmh": 46,
    "v85_1_kmh": 52.5,
    "v85_2_kmh": 55,
    "occupancy_pct": 7.5,
    "battery_v": 3.91,
}


def given(record):
    """Return the values of a record that were sampled."""
    return {name: value for name, value in record.values.items() if value is not None}


def one(data):
    records = frame.decode(data)
    assert len(records) == 1
    return records[0]


def test_a_climate_record_has_at_most_29_bytes():
    data = frame.encode(CLIMATE, 12345, NOON, schema.CLOCK_SYNCED, CLIMATE_VALUES)
    assert data == binascii.unhexlify("8b011930391a684ee180011908591901e219052d18d4184f187c18bf")
    assert len(data) <= 29
    record = one(data)
    assert record.name == "climate"
    assert (record.kind, record.seq, record.t, record.age_s, record.status) == (
        CLIMATE,
        12345,
        NOON,
        None,
        schema.CLOCK_SYNCED,
    )
    assert given(record) == CLIMATE_VALUES


def test_a_traffic_record_has_at_most_31_bytes():
    data = frame.encode(TRAFFIC, 12345, NOON, schema.CLOCK_SYNCED, TRAFFIC_VALUES)
    assert len(data) <= 31
    assert one(data).values == TRAFFIC_VALUES


def test_a_health_record_of_a_busy_month_fits_the_smallest_uplink():
    values = {
        "firmware": "1.12.3",
        "reset_cause": "brownout",
        "epoch": 3,
        "restarts": 250,
        "uptime_s": 2678400,
        "heap_free_b": 102400,
        "idf_heap_free_b": 61440,
        "spool_records": 8928,
        "dropped": 1200,
        "sensor_faults": 900,
        "link_reconnects": 120,
        "broker_reconnects": 140,
        "rssi_dbm": -117,
        "snr_db": -11.25,
        "battery_v": 3.3,
    }
    data = frame.encode(HEALTH, 65535, NOON, 63, values)
    assert len(data) <= 51
    assert given(one(data)) == values


def test_weather_and_event_records():
    values = {
        "rain_mm": 1.4,
        "wind_ms": 3.2,
        "gust_ms": 9.7,
        "wind_from_deg": 230,
        "solar_wm2": 512,
    }
    assert given(one(frame.encode(WEATHER, 0, 0, 0, values))) == values
    values = {"code": "fault_on", "detail": -7}
    assert one(frame.encode(EVENT, 1, 0, 0, values)).values == values


def test_the_schema_is_sound():
    assert sorted(RECORDS) == [CLIMATE, WEATHER, TRAFFIC, HEALTH, EVENT]
    names = [name for name, _ in RECORDS.values()]
    assert len(set(names)) == len(names)
    for kind, (_, rows) in RECORDS.items():
        assert 0 <= kind <= 23
        assert 0 < len(rows) <= 19
        assert len({row[0] for row in rows}) == len(rows)
        for name, unit, num, den, zero, low, high, form in rows:
            assert num >= 1
            assert den >= 1
            assert num == 1 or den == 1, name
            assert low < high
            assert low - zero >= -0x100000000
            assert high - zero <= 0xFFFFFFFF
            assert not form or (unit, num, den, zero, low) == ("", 1, 1, 0, 0)


def test_the_ends_of_every_range_go_there_and_back_and_no_further():
    for kind, (_, rows) in RECORDS.items():
        for place, (name, _, num, den, _, low, high, form) in enumerate(rows):
            if form:
                continue
            for steps in (low, high):
                physical = steps * den if num == 1 else steps / num
                data = frame.encode(kind, 1, 2, 3, {name: physical})
                assert one(data).values[name] == physical, name
                assert (
                    one(frame.encode(kind, 1, 2, 3, [None] * place + [physical])).values[name]
                    == physical
                )
            for steps in (low - 1, high + 1):
                data = frame.encode(kind, 1, 2, 3, {name: steps * den / num})
                assert one(data).values[name] is UNDEFINED, name
                if num == 1:
                    data = frame.encode(kind, 1, 2, 3, {name: steps * den})
                    assert one(data).values[name] is UNDEFINED, name


def test_the_longest_frame_fits_the_buffer():
    longest = 0
    for kind, (_, rows) in RECORDS.items():
        values = {}
        for name, _, num, den, _, low, high, form in rows:
            values[name] = high * den if num == 1 else high / num
        for t in (0xFFFFFFFF, -1 - 0xFFFFFFFF):
            longest = max(longest, len(frame.encode(kind, 0xFFFFFFFF, t, 0xFFFF, values)))
    assert longest <= frame.MAX_BYTES


def test_values_are_rounded_to_the_nearest_step():
    for given, got in ((21.374, 21.37), (21.376, 21.38), (-0.004, 0), (-3.339, -3.34), (7, 7)):
        assert one(frame.encode(CLIMATE, 0, 0, 0, [given])).values["temperature_c"] == got
    for given, got in ((89, 60), (91, 120), (300.2, 300)):
        assert one(frame.encode(TRAFFIC, 0, 0, 0, [given])).values["interval_s"] == got


def test_nothing_is_made_up():
    for bad in (float("nan"), float("inf"), -float("inf"), 1e300, 125.1, -61, 10**30, UNDEFINED):
        record = one(frame.encode(CLIMATE, 0, 0, 0, {"temperature_c": bad, "humidity_pct": 50}))
        assert record.values["temperature_c"] is UNDEFINED
        assert record.values["humidity_pct"] == 50


def test_a_program_error_is_told():
    encode = frame.encode
    for value in (True, "21", b"1", [1], {}, object()):
        assert error_of(FrameError, encode, CLIMATE, 0, 0, 0, {"temperature_c": value}) == "value"
    assert error_of(FrameError, encode, CLIMATE, 0, 0, 0, {"temprature_c": 1}) == "field"
    assert error_of(FrameError, encode, CLIMATE, 0, 0, 0, {"detail": None}) == "field"
    assert error_of(FrameError, encode, CLIMATE, 0, 0, 0, [1] * 16) == "field"
    assert error_of(FrameError, encode, CLIMATE, 0, 0, 0, "1") == "value"
    for kind in (0, 23, -1, 1000):
        assert error_of(FrameError, encode, kind, 0, 0, 0) == "type"
    for seq in (-1, 1 << 32, 1.0, None, True):
        assert error_of(FrameError, encode, CLIMATE, seq, 0, 0) == "seq"
    for t in (-2 - 0xFFFFFFFF, 1 << 32, 1.0, None, False):
        assert error_of(FrameError, encode, CLIMATE, 0, t, 0) == "t"
    for status in (-1, 1 << 16, 1.0, None, True):
        assert error_of(FrameError, encode, CLIMATE, 0, 0, status) == "status"


def test_a_small_buffer_is_told():
    data = frame.encode(CLIMATE, 12345, NOON, 1, CLIMATE_VALUES)
    for size in range(len(data)):
        assert (
            error_of(
                FrameError,
                frame.encode_into,
                bytearray(size),
                CLIMATE,
                12345,
                NOON,
                1,
                CLIMATE_VALUES,
            )
            == "cbor"
        )
    buffer = bytearray(len(data) + 3)
    assert frame.encode_into(buffer, CLIMATE, 12345, NOON, 1, CLIMATE_VALUES) == len(data)
    assert buffer == data + b"\0\0\0"


def test_nulls_at_the_end_are_left_out():
    assert frame.encode(CLIMATE, 1, 2, 3, {"temperature_c": 0.05}) == b"\x85\x01\x01\x02\x03\x05"
    assert frame.encode(CLIMATE, 1, 2, 3, [None, 0.5, None]) == b"\x86\x01\x01\x02\x03\xf6\x05"
    assert frame.encode(CLIMATE, 1, 2, 3) == b"\x84\x01\x01\x02\x03"
    assert frame.encode(CLIMATE, 1, 2, 3, [UNDEFINED, None]) == b"\x85\x01\x01\x02\x03\xf7"
    assert set(one(b"\x84\x01\x01\x02\x03").values.values()) == {None}


def test_an_older_decoder_ignores_later_values():
    old = frame.encode(EVENT, 1, 2, 3, ["tamper", 5])
    for later in ("00", "f6", "f7", "f5", "1bffffffffffffffff", "6161", "4161"):
        data = bytes((old[0] + 1,)) + old[1:] + binascii.unhexlify(later)
        assert one(data).values == {"code": "tamper", "detail": 5}
    many = put([EVENT, 1, 2, 3, 1, 5] + [7] * 58)
    assert one(many).values == {"code": "tamper", "detail": 5}


def test_a_later_name_of_a_code_is_its_number():
    assert one(put([EVENT, 1, 2, 3, 200])).values["code"] == 200
    assert one(put([HEALTH, 1, 2, 3, 10203, 99])).values["reset_cause"] == 99
    assert one(frame.encode(EVENT, 1, 2, 3, [1])).values["code"] == "tamper"
    assert one(frame.encode(EVENT, 1, 2, 3, ["not yet"])).values["code"] is UNDEFINED


def test_versions():
    for text in ("0.1.0", "1.2.3", "0.0.0", "99.99.99"):
        assert one(frame.encode(HEALTH, 1, 2, 3, [text])).values["firmware"] == text
    for text in ("", "1", "1.2", "1.2.3.4", "1.2.100", "a.b.c", "1.2.-3", "1..3", "1.2.\u00b2"):
        assert one(frame.encode(HEALTH, 1, 2, 3, [text])).values["firmware"] is UNDEFINED


def test_time_and_age():
    assert one(frame.encode(EVENT, 1, 0, 0)).t == 0
    for age_s in (0, 1, 3600, 0xFFFFFFFF):
        record = one(frame.encode(EVENT, 1, frame.t_of_age(age_s), 0))
        assert record.t is None
        assert record.age_s == age_s


def test_restamping_changes_the_time_and_nothing_else():
    for seq in (0, 24, 300, 70000):
        for t in (0, -1, -30, -300, -70000, NOON, 0xFFFFFFFF):
            old = frame.encode(CLIMATE, seq, t, 17, CLIMATE_VALUES)
            for new_t in (NOON, 0, frame.t_of_age(0), frame.t_of_age(86400), frame.t_of_age(20)):
                new = frame.encode(CLIMATE, seq, new_t, 17, CLIMATE_VALUES)
                assert frame.restamp(old, new_t) == new
                assert frame.restamp(memoryview(bytearray(old)), new_t) == new
    assert frame.restamp(b"\x87\x20\x01\x02\x03\x04\x05\x41\x00", -5)[:4] == b"\x87\x20\x01\x24"
    assert error_of(FrameError, frame.restamp, old, 1 << 32) == "t"


def test_peek_reads_what_is_in_front():
    data = frame.encode(TRAFFIC, 70000, -500, 63, TRAFFIC_VALUES)
    assert frame.peek(data) == (TRAFFIC, 70000, -500, 63)
    for data, kind in (
        (b"", "shape"),
        (b"\x83\x01\x02\x03", "shape"),
        (b"\x98\x18\x01\x02\x03\x04", "shape"),
        (b"\xa4\x01\x02\x03\x04", "shape"),
        (b"\x84\x01\x02", "cbor"),
        (b"\x84\x01\x60\x03\x04", "cbor"),
        (b"\x84\x01\x20\x03\x04", "seq"),
        (b"\x84\x01\x02\x03\x20", "status"),
        (b"\x84\x01\x02\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x00", "t"),
    ):
        assert error_of(FrameError, frame.peek, data) == kind, data
    for data in (b"", b"\x83\x01\x02\x03", b"\x84\x01\x02", b"\x84\x01\x60\x03"):
        assert error_of(FrameError, frame.restamp, data, 0) in ("shape", "cbor")


def test_bad_frames_are_named():
    for data, kind in (
        (b"", "cbor"),
        (b"\x00", "shape"),
        (b"\x80", "shape"),
        (b"\xa0", "shape"),
        (b"\x81\x01", "shape"),
        (b"\x83\x01\x02\x03", "shape"),
        (b"\x84\xf5\x01\x02\x03", "shape"),
        (b"\x84\x61a\x01\x02\x03", "shape"),
        (b"\x81\x20", "type"),
        (b"\x81\x21", "shape"),
        (b"\x87\x20\x01\x02\x03\x04\x05\x41\x00", "type"),
        (b"\x84\x00\x01\x02\x03", "type"),
        (b"\x84\x17\x01\x02\x03", "type"),
        (b"\x84\x01\x20\x02\x03", "seq"),
        (b"\x84\x01\xf4\x02\x03", "seq"),
        (b"\x84\x01\x01\xf6\x03", "t"),
        (b"\x84\x01\x01\x02\x20", "status"),
        (b"\x84\x01\x01\x02\x1a\x00\x01\x00\x00", "status"),
        (b"\x85\x01\x01\x02\x03\xf5", "value"),
        (b"\x85\x01\x01\x02\x03\x61a", "value"),
        (b"\x85\x01\x01\x02\x03\xf9\x3c\x00", "value"),
        (b"\x85\x01\x01\x02\x03\x19\x7f\xff", "value"),
        (b"\x85\x01\x01\x02\x03\x81\x00", "cbor"),
        (b"\x85\x01\x01\x02\x03\xc1\x00", "cbor"),
        (b"\x85\x01\x01\x02\x03\x18\x05", "cbor"),
        (b"\x84\x01\x01\x02\x03\x00", "cbor"),
        (b"\x87\x05\x01\x02\x03\x00\x00\xf9\x3c\x00", "value"),
        (put([EVENT, 1, 2, 3] + [0] * 61), "cbor"),
    ):
        assert error_of(FrameError, frame.decode, data) == kind, data


def test_errors_are_readable():
    for data, text in (
        (b"\x87\x21\x01\x02\x03\x04\x00\x40", "number of records is not 1 … 64: 0"),
        (b"\x87\x21\x01\x02\x03\x04\x01\x40", "no columns of a batch: truncated"),
        (b"\x84\x17\x01\x02\x03", "unknown record type: 23"),
        (b"\x85\x01\x01\x02\x03\xf5", "no possible value: temperature_c"),
        (b"\x85\x01\x01\x02\x03", "not the CBOR of a frame: truncated"),
    ):
        try:
            frame.decode(data)
        except FrameError as error:
            assert str(error) == text
        else:
            raise AssertionError(text)
