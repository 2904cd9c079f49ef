"""`citynode calibrate`: what a board beside a road is told to say, and what is made of it."""

import json
import os
import subprocess
import sys

import pytest
from citynode.bench.contents import Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.cli.calibrate import Heard, draw, findings, suggested
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS

BOARD = "esp32-devkit"
GEOMETRY = {"lane": 2500, "lanes": 1, "spacing": 0, "overhead": False}
TABLE = """
description = "x"
site = "s"
interval_s = 60
[traffic]
sensor = "tfluna"
mount = "across"
lane_m = 3.0
far_m = 6.2
[uplink]
kind = "wifi"
host = "broker.bench"
tls = false
"""
LIMIT_S = 120


def heard(results, *, mount="across", thresholds=(), samples=500, errors=None, **geometry):
    sensor = "mmc5983" if thresholds else "tf02pro"
    return Heard(
        sensor,
        "" if thresholds else mount,
        {**GEOMETRY, **geometry},
        points=[(10 * i, 100.0 + i % 7) for i in range(50)],
        passages=[[200, 1, 13900, 1, 120]],
        samples=samples,
        errors=errors or {},
        results=results,
        thresholds=list(thresholds),
    )


FIELD = ["ok", [19000, 1000, -45000], 40, 10]
RANGE = ["ok", 11800, 12, 99, 10]
ROWS = [
    (heard([RANGE]), None, {"far_m": 11.8}),
    (heard([["no_far_side", 0, 0, 3, 10]]), None, {}),
    (heard([["no_far_side", 0, 0, 3, 10]], overhead=True), "nothing is seen", {}),
    (heard([["unsteady", 0, 0, 90, 10]]), "no distance stands out", {}),
    (heard([["ok", 2100, 12, 99, 10]]), "before the middle of the lane", {"far_m": 2.1}),
    (heard([RANGE, ["too_few", 0, 0, 0, 0]], spacing=2000), "sensor 2: too few", {"far_m": 11.8}),
    (heard([RANGE], mount="along"), None, {}),
    (heard([], samples=0, errors={"timeout": 3}), "says nothing", {}),
    (heard([RANGE], errors={"bus": 2}), "bus: 2 times", {"far_m": 11.8}),
    (heard([FIELD], thresholds=[150]), None, {}),
    # 30,000/2.5³ nT are a car's.
    (heard([FIELD], thresholds=[800]), "a car makes about 1920 nT", {}),
    (heard([FIELD], thresholds=[800], lane=1500), None, {}),
    (heard([["saturated", [0, 0, 0], 0, 0]], thresholds=[150]), "iron is too near", {}),
    (heard([["noisy", [0, 0, 0], 3000, 10]], thresholds=[9000]), "noisy", {}),
]


@pytest.mark.parametrize(("told", "wrong", "values"), ROWS)
def test_what_is_wrong_is_named_with_a_cure(told, wrong, values):
    found = findings(told)
    assert suggested(told) == values
    if wrong is None:
        assert found == []
    else:
        assert any(wrong in text for text in found)


def test_the_picture_marks_the_vehicles(tmp_path, capsys):
    told = heard([FIELD], thresholds=[150])
    draw("terminal", told)
    text = capsys.readouterr().out
    assert "mmc5983" in text
    assert "▀" in text
    for name, magic in (("a.svg", b"<svg"), ("a.png", b"\x89PNG")):
        path = tmp_path / name
        draw(str(path), told)
        assert path.read_bytes().startswith(magic)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:setName:DeprecationWarning")
def test_a_mounted_board_is_asked_and_goes_on(tmp_path):
    profile_file = tmp_path / "mine.toml"
    profile_file.write_text(TABLE)
    profile, spec = load_profile(str(profile_file)), load_board(BOARD)
    made = standin.build(CHIPS[spec.chip])
    plan = planning.make(
        made,
        spec.chip,
        spec.flash_mib << 20,
        nvs_values={NAMESPACE: Identity("n1").nvs()},
        files=prepare(Order(spec, profile, {}), made).files,
    )
    image = tmp_path / "image.bin"
    image.write_bytes(plan.merged())
    with Rack(BOARD, image=image, state_dir=tmp_path / "rack", profile=profile) as rack:
        url = rack.call(lambda: rack.boards[0].rfc2217_url)
        done = subprocess.run(
            [sys.executable, "-m", "citynode", "calibrate", "-p", url, "--seconds", "5", "--json"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env={**os.environ, "CITYNODE_STATE": str(tmp_path / "state")},
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["sensor"], told["mount"], told["errors"]) == ("tfluna", "across", {})
    (sensor,) = told["sensors"]
    assert sensor["verdict"] == "ok"
    assert sensor["far_mm"] == pytest.approx(6200, abs=30)
    assert told["profile"] == {"far_m": pytest.approx(6.2, abs=0.03)}
    assert told["samples"] > 250
