"""`citynode replay`: recordings as others write them, through the node's detector."""

import json
import struct
import xml.etree.ElementTree as ET
import zlib

import pytest
from workbench import citynode

VOID = 4500


def along(rate=100, speed_ms=12.5, void=True, wall=None):
    """Yield (s, cm, strength): two vehicles come, one goes; behind them void or a wall."""
    for number in range(10 * rate):
        t = number / rate
        row = (t, VOID, 0) if wall is None else (t, wall + number % 3, 480)
        for start, first, step in ((1, 2200, -speed_ms), (4, 2200, -speed_ms), (7, 1300, speed_ms)):
            if start <= t < start + 0.6:
                row = (t, round(first + 100 * step * (t - start)) + number % 3 - 1, 3000)
        if void or row[2]:
            yield row


def across(rate=100):
    for number in range(16 * rate):
        t = number / rate
        cut = any(start <= t < start + 0.4 for start in (5, 8, 12))
        yield t, 210 + number % 2 if cut else 870 + number % 3, 1500


def field(spacing=0.0, rate=100):
    """Yield (s, µT …): a vehicle at 10 m/s past one sensor, or past two."""
    for number in range(12 * rate):
        t = number / rate
        row = [t]
        for place in (0.0, spacing) if spacing else (0.0,):
            x = 10 * (t - 6) - place
            pull = 8 / (1 + x * x / 4) ** 1.5
            row += [19 + pull * x / 4, 1 + 0.02 * (number % 3), -45 + pull]
        yield tuple(row)


def write(path, rows, header="", delimiter=",", form="{}"):
    lines = [delimiter.join(form.format(value) for value in row) for row in rows]
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n")
    return path


def replayed(path, sensor, *more):
    done = citynode("replay", "--sensor", sensor, path, "--json", *more)
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


WAYS = [1, 1, 2]


@pytest.mark.parametrize(
    ("header", "rows", "delimiter"),
    [
        ("time,distance,strength", lambda: along(), ","),
        ("", lambda: ((1611316114.25 + t, d, s, 2200) for t, d, s in along(40, void=False)), ";"),
        ("Timestamp (ms);Dist [cm];Signal", lambda: ((1000 * t, d, s) for t, d, s in along()), ";"),
        ("t_us\tdistance_mm", lambda: ((int(1e6 * t), 10 * d) for t, d, _ in along()), "\t"),
        ("# lidar\ntime,range_m,flux", lambda: ((t, d / 100, s) for t, d, s in along(50)), ","),
        ("", lambda: ((t, n, d, s) for n, (t, d, s) in enumerate(along())), ";"),
        ("", lambda: along(wall=2760), ";"),
    ],
    ids=["plain", "gaps", "ms", "us and mm", "metres", "counter", "wall"],
)
def test_any_csv_of_a_lidar_along_the_lane(tmp_path, header, rows, delimiter):
    report = replayed(write(tmp_path / "a.csv", rows(), header, delimiter), "tf02pro")
    assert report["mount"] == "along"
    assert [each["direction"] for each in report["passages"]] == WAYS
    for each in report["passages"]:
        assert each["speed_kmh"] == pytest.approx(45, rel=0.05)
        assert each["kind"] == "unknown"


def test_times_are_those_of_the_file(tmp_path):
    rows = ((1611316114.25 + t, d, s) for t, d, s in along())
    report = replayed(write(tmp_path / "a.csv", rows), "TF02-Pro")
    assert [each["time"] for each in report["passages"]] == pytest.approx(
        [1611316115.55, 1611316118.55, 1611316121.55], abs=0.1
    )


def test_a_lidar_across_and_lines_that_are_none(tmp_path):
    path = write(tmp_path / "a.csv", across(), "time,distance,strength")
    path.write_text(path.read_text().replace("\n3.0,", "\noops,\n3.0,") + "17.0,,\n")
    report = replayed(path, "tfluna", "--lane", "3")
    assert (report["mount"], report["skipped"]) == ("across", 1)
    assert [round(each["t_s"]) for each in report["passages"]] == [5, 8, 12]


@pytest.mark.parametrize("scale", [1, 1000, 10, 0.01], ids=["µT", "nT", "mG", "G"])
def test_magnetometers_in_any_unit(tmp_path, scale):
    rows = [(row[0], *(value * scale for value in row[1:])) for row in field()]
    report = replayed(write(tmp_path / "a.csv", rows, "time,x,y,z"), "qmc5883l")
    assert [round(each["t_s"]) for each in report["passages"]] == [6]
    assert report["passages"][0]["speed_kmh"] is None


def test_two_magnetometers_tell_the_speed(tmp_path):
    path = write(tmp_path / "a.csv", field(2.0), "time,x1,y1,z1,x2,y2,z2")
    report = replayed(path, "mmc5983", "--spacing", "2", "--lane", "2")
    (passage,) = report["passages"]
    assert passage["speed_kmh"] == pytest.approx(36, rel=0.03)
    assert (passage["direction"], passage["kind"]) == (1, "car")
    assert "--spacing" in citynode("replay", "--sensor", "mmc5983", path).complaint


def test_a_radar(tmp_path):
    rows = [(t / 10, 13.9, 300) for t in range(20, 40)] + [
        (t / 10, -8.3, 200) for t in range(90, 110)
    ]
    report = replayed(write(tmp_path / "a.csv", rows, "time,speed,magnitude"), "ops243")
    assert [(each["direction"], each["speed_kmh"]) for each in report["passages"]] == [
        (1, 50.0),
        (2, 29.9),
    ]


def test_the_table_and_the_pictures(tmp_path):
    path = write(tmp_path / "a.csv", along())
    done = citynode("replay", "--sensor", "tf02pro", path, "--plot", "terminal")
    assert done.code == 0
    assert "3 vehicles in 1000 samples; the sensor looks along the lane\n" in done.out
    marks = [line for line in done.out.splitlines() if "▀" in line]
    assert len(marks) == 1
    assert len(marks[0].split()) == 3
    drawing, picture = tmp_path / "a.svg", tmp_path / "a.png"
    for target in (drawing, picture):
        assert citynode("replay", "--sensor", "tf02pro", path, "--plot", target).code == 0
    tree = ET.parse(drawing).getroot()
    assert sum(each.get("class") == "passage" for each in tree.iter()) == 3
    raw = picture.read_bytes()
    width, height = struct.unpack(">II", raw[16:24])
    at = raw.index(b"IDAT")
    (size,) = struct.unpack(">I", raw[at - 4 : at])
    pixels = zlib.decompress(raw[at + 4 : at + 4 + size])
    assert (raw[:8], len(pixels)) == (b"\x89PNG\r\n\x1a\n", height * (1 + 3 * width))


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        ("0,1,2\n", ["--sensor", "vl53"], "unknown sensor 'vl53'; known are tf02pro"),
        ("0,1,2\n", ["--sensor", "tf02pro", "--mount", "up"], "unknown --mount 'up'"),
        ("0,1,2\n", ["--sensor", "tf02pro", "--unit", "ft"], "unknown --unit 'ft'"),
        ("0,1,2\n", ["--sensor", "tf02pro", "--angle", "90"], "--angle must be"),
        ("0,1,2\n", ["--sensor", "tf02pro", "--plot", "a.gif"], "there is nothing to draw"),
        ("0,100,200\n", ["--sensor", "tf02pro", "--plot", "a.gif"], "cannot draw 'a.gif'"),
        ("", ["--sensor", "tf02pro"], "is empty"),
        ("a,b\n1,2\n", ["--sensor", "tf02pro"], "has no columns of time and distance"),
        ("time,x,y\n1,2,3\n", ["--sensor", "mmc5983"], "no columns of time and x1 and y1 and z1"),
        ("time,x,y,z\n", ["--sensor", "mmc5983"], "has no sample"),
    ],
)
def test_what_cannot_be_replayed_is_told_in_a_line(tmp_path, text, arguments, told):
    path = tmp_path / "a.csv"
    path.write_text(text)
    done = citynode("replay", path, *arguments)
    assert done.code == 2
    assert told in done.complaint
    assert citynode("replay", tmp_path / "none.csv", "--sensor", "tf02pro").code == 2
