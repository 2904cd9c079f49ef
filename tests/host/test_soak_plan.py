"""Soaks by plan: what a plan may say, what chance makes of it, and how nodes are judged."""

import json

import pytest
from citynode.errors import CitynodeError
from citynode.soak import criteria, runner, shards
from citynode.soak.plan import KINDS, load_plan, plan_ids
from citynode.soak.results import Run
from citynode.soak.schedule import cells, draw, members
from citynode.soak.site import Station
from citynode.wire import frame
from citynode.wire.schema import CLIMATE, HEALTH
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import citynode

HOUR = 3600
PLAN = """
description = "for a test"
duration = "4h"
grace = "1h"
seed = 7
[[nodes]]
name = "n"
board = "lilygo-t3-s3"
profile = "climate-lora"
"""


def write(folder, text=PLAN, **keys):
    path = folder / "plan.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in keys.items()) + text)
    return path


def fault(kind, **rows):
    rows = {key.rstrip("_"): json.dumps(value) for key, value in rows.items()}
    return f'[[faults]]\nkind = "{kind}"\n' + "".join(f"{k} = {v}\n" for k, v in rows.items())


# -- the file -------------------------------------------------------------------------------------

NODE = PLAN[PLAN.index("[[nodes]]") :]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PLAN.replace('"4h"', '"4 weeks"'), "duration: this is no duration; write 90s"),
        (PLAN.replace('"4h"', "4"), "duration: a duration is a text such as 90s"),
        (PLAN + "count = 0", "nodes.0.count:"),
        (PLAN + "colour = 1", "unknown key nodes.0.colour"),
        (PLAN + NODE, "nodes: two groups have the same name"),
        (PLAN + 'ports = ["/dev/x"]', "nodes.0: nodes at ports are what they are"),
        ('clock = "real"' + PLAN, 'nodes: with clock = "real" they have ports'),
        (PLAN + fault("fire", at="1h"), "faults.0.kind:"),
        (PLAN + fault("power"), "faults.0: power: give either at or every"),
        (PLAN + fault("power", at="1h", every="1h"), "power: give either at or every"),
        (PLAN + fault("power", at="4h"), "faults: power: does not end before the soak does"),
        (PLAN + fault("broker", at="1h", way="late"), "broker: way is one of away, silent, deaf"),
        (PLAN + fault("power", at="1h", size=1), "power: has no size"),
        (PLAN + fault("flash", at="1h", size=2), "flash: size is a share of operations"),
        (PLAN + "[pass]\nlost = -1", "pass.lost:"),
        (PLAN + "[pass]\nrestarts = {wdt = -1}", "pass.restarts.wdt:"),
    ],
)
def test_what_is_wrong_with_a_plan_is_one_line_with_its_key(tmp_path, text, told):
    with pytest.raises(CitynodeError) as caught:
        load_plan(str(write(tmp_path, text)))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nightly"], "there is no plan 'nightly'; give city, night, smoke, or a TOML file"),
        (["smoke", "-p", "x"], "ports and limits of a plan are in its file"),
        (["smoke", "--cell", 9], "the plan has no cell 9; its cells are 1 to 2"),
        (["smoke", "--log", "{tmp}"], "cannot write {tmp}: Is a directory"),
        (
            ["smoke", "--dask", "tcp://127.0.0.1:1"],
            "no Dask scheduler answers at tcp://127.0.0.1:1",
        ),
        (["--seed", 3, "-p", "x"], "are for plans"),
    ],
)
def test_what_cannot_be_run_is_one_line(state, tmp_path, arguments, told):
    done = citynode("soak", *(str(each).format(tmp=tmp_path) for each in arguments))
    assert (done.code, done.out) == (2, "")
    assert told.format(tmp=tmp_path) in done.complaint


def test_the_plans_that_come_with_it():
    plans = {name: load_plan(name) for name in plan_ids()}
    assert set(plans) == {"smoke", "night", "city"}
    sizes = {name: (len(members(plan)), plan.duration) for name, plan in plans.items()}
    assert sizes == {
        "smoke": (4, 3 * HOUR), "night": (20, 30 * 24 * HOUR), "city": (1000, 6 * HOUR),
    }  # fmt: skip
    assert len(cells(plans["city"])) == 12
    for name in ("smoke", "night"):
        assert {each.kind for each in plans[name].faults} == set(KINDS)


# -- a bench --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nodes_at_ports_in_real_time(state, nodes, tmp_path):
    ports = json.dumps([board.rfc2217_url for board in nodes.boards])
    plan = tmp_path / "bench.toml"
    plan.write_text(
        'description = "two nodes on a desk"\nclock = "real"\nduration = "8s"\ngrace = "10s"\n'
        f'[[nodes]]\nname = "desk"\nports = {ports}\n'
        + fault("reset", at="3s", nodes=["desk-2"])
        # The last record before the clock is set may have the second of the next one.
        + '[pass]\nsilence = "20s"\nduplicates = 2\n'
    )
    broker, log = f"127.0.0.1:{nodes.broker.port}", tmp_path / "log"
    done = citynode("soak", plan, "--broker", broker, "--log", log, "--json")
    assert (done.code, done.err) == (0, ""), done.out
    one, other, whole = (json.loads(line) for line in done.out.splitlines())
    assert [row["node"] for row in (one, other)] == ["desk-1", "desk-2"]
    assert [row["restarts"] for row in (one, other)] == [1, 2]
    assert min(row["received"] for row in (one, other)) >= 3
    assert (whole["passed"], whole["faults"]) == (True, 1)
    kinds = {json.loads(line)["event"] for line in log.read_text().splitlines()}
    assert {"restart", "accepted", "received", "fault", "fault over", "verdict"} <= kinds


# -- chance ---------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 0xFFFFFFFF),
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True),
    count=st.integers(1, 6),
    gateways=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_faults_follow_from_the_seed_each_by_itself(tmp_path_factory, seed, kinds, count, gateways):
    folder = tmp_path_factory.mktemp("plan")
    parts = [fault(kind, every="40m", for_="5m") for kind in kinds]
    text = PLAN + f"count = {count}\n"
    plan = load_plan(str(write(folder, text + "".join(parts), gateways=gateways)))
    less = load_plan(str(write(folder, text + parts[-1], gateways=gateways)))
    nodes = {cell: {m.id for m in members(plan) if m.cell == cell} for cell in cells(plan)}
    assert sum(map(len, nodes.values())) == count
    for cell in cells(plan):
        drawn = draw(plan, seed, cell)
        assert drawn == draw(plan, seed, cell)
        assert [each.at_s for each in drawn] == sorted(each.at_s for each in drawn)
        # Another fault in the plan moves none of this one.
        assert draw(less, seed, cell) == [each for each in drawn if each.kind == kinds[-1]]
        last = {}
        for each in drawn:
            assert each.at_s + each.for_s <= plan.duration
            assert each.way in KINDS[each.kind].ways
            assert (each.node is None) == KINDS[each.kind].cell
            assert each.node is None or each.node in nodes[cell]
            # One of a kind and a target begins when the last one is over.
            assert each.at_s >= last.get((each.kind, each.node), 0)
            last[each.kind, each.node] = each.at_s + each.for_s


def test_rates_are_what_the_plan_says(tmp_path):
    text = PLAN.replace('"4h"', '"100d"') + "count = 20\n"
    plan = load_plan(str(write(tmp_path, text + fault("power", every="1d", nodes=["n-?"]))))
    drawn = [due for seed in range(5) for due in draw(plan, seed, 0)]
    assert {due.node for due in drawn} == {f"n-{number}" for number in range(1, 10)}
    assert len(drawn) == pytest.approx(5 * 9 * 100, rel=0.05)


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slope", "noise", "restarts"), [(-600, 0, 0), (-600, 300, 0), (-600, 300, 5), (0, 300, 5)]
)
def test_the_slope_of_a_heap_is_found_through_restarts(slope, noise, restarts):
    starts = [(n * 5 * HOUR, "poweron") for n in range(1, restarts + 1)]
    heap, level = [], 0.0
    for at_s in range(0, 30 * HOUR, 600):
        begun = max([0, *(start for start, _ in starts if start <= at_s)])
        level = 90_000 + (begun // 600) % 7 * 100  # where a heap begins is chance
        waver = noise * (-1) ** (at_s // 600 % 2)
        heap.append((float(at_s), round(level + slope * (at_s - begun) / HOUR + waver)))
    found, error = criteria.heap_slope(heap, starts)
    assert found == pytest.approx(slope, abs=3 * error + 1)
    assert error < 30


@pytest.mark.parametrize(
    "heap", [[], [(700.0, 1), (8000.0, 1)], [(700.0 + n, n) for n in range(9)]]
)
def test_too_little_is_no_slope(heap):
    assert criteria.heap_slope(heap, []) is None


@given(st.lists(st.tuples(st.integers(0, 5 * 86400), st.integers(1, 3)), max_size=30))
def test_the_most_air_time_of_any_day(air):
    air = sorted((float(at), float(length)) for at, length in air)
    plain = max((sum(s for t, s in air if at <= t < at + 86400) for at, _ in air), default=0.0)
    assert criteria.most_in_a_day(air) == plain


# -- verdicts -------------------------------------------------------------------------------------


def climate(seq, t=None, temperature=20.0):
    at = 1_800_000_000 + 300 * seq if t is None else t
    return frame.encode(CLIMATE, seq, at, 0, {"temperature_c": temperature})


def health(seq, free):
    return frame.encode(HEALTH, seq, 1_800_000_000 + seq, 0, {"heap_free_b": free, "uptime_s": 1})


class Script:
    """A site whose node does what a test says: (time, call of the ear) in any order."""

    delivers = True
    kinds = frozenset(KINDS)
    started_s = 1_800_000_000.0

    def __init__(self, steps=(), lost=(), silent=(), break_off_s=None):
        self.stations = [Station("n-1", "board", "profile", 300)]
        self._steps = list(steps)
        self._lost = lost
        self._silent = silent
        self._break_off_s = break_off_s
        self.closed = False
        self.now_s = 0

    def open(self, ear, faults):
        self._ear = ear
        self._say(0, "I 0.001 app: citynode 0.1.0 node n-1 reset poweron")
        times = [300 * number for number in range(1, 48)]
        kept = [t for t in times if not any(begin <= t < end for begin, end in self._silent)]
        for number, at in enumerate(kept, 1):
            self.sample(at, climate(number), arrives=number not in self._lost)
        for due in faults:
            self._steps.append((due.at_s, lambda due=due: ear.began(due, due.at_s)))
            end = due.at_s + due.for_s
            self._steps.append((end, lambda due=due, end=end: ear.ended(due, end)))
        self._steps = sorted(
            ((at, step if callable(step) else None, step) for at, step in self._steps),
            key=lambda each: each[0],
        )

    def _say(self, at, text):
        self._steps.append((at, lambda: self._ear.line("n-1", text, at)))

    def sample(self, at, data, arrives=True):
        self._say(at, f"I 1.000 frame: {data.hex()}")
        if arrives:
            self._steps.append((at + 2, ("message", data)))

    def run(self, until_s):
        self.now_s = until_s
        if self._break_off_s is not None and until_s >= self._break_off_s:
            raise KeyboardInterrupt
        while self._steps and self._steps[0][0] <= until_s:
            at, call, step = self._steps.pop(0)
            if call is not None:
                call()
            elif step[0] == "message":
                self._ear.message("citynode/n-1/up", step[1], at)
            else:
                getattr(self._ear, step[0])("n-1", *step[1:], at)

    def erases(self, node):
        return {7: 3, 8: 0}

    def energy_mah(self, node):
        return self.now_s / 3600 * 40

    def close(self):
        self.closed = True


def start(cause):
    return ("line", f"I 0.001 app: citynode 0.1.0 node n-1 reset {cause}")


LEAKING = [(at, ("message", health(1000 + at, 100_000 - at // 30))) for at in range(0, 14_400, 600)]
STEADY = [(at, ("message", health(1000 + at, 100_000 + at % 7))) for at in range(0, 14_400, 600)]
POWER = fault("power", at="1h", for_="20m")


@pytest.mark.parametrize(
    ("script", "more", "wrong"),
    [
        (Script(), "", {}),
        (Script(lost=[9]), "", {"lost": "1 records lost (number 9)"}),
        (Script(lost=[9]), "[pass]\nlost = 1", {}),
        (Script(lost=range(99)), "", {"reports": "nothing arrived"}),
        # It comes later, under the number that it had: no harm.
        (Script([(9000, ("message", climate(9)))], lost=[9]), "", {}),
        (Script([(9000, ("message", climate(9)))]), "", {}),
        (
            Script([(9000, ("message", climate(60, 1_800_000_300)))]),
            "[pass]\nlost = 99",
            {"duplicates": "1 records came under another number as well"},
        ),
        (
            Script([(9000, ("message", climate(9, temperature=-5.0)))]),
            "",
            {"lost": "1 record numbers were used twice"},
        ),
        (Script([(5000, start("wdt"))]), "", {"restarts": "no reason of the plan (wdt 1)"}),
        (Script([(5000, start("wdt"))]), "[pass]\nrestarts = {wdt = 1}", {}),
        (Script([(5000, start("deepsleep"))]), "", {}),
        (Script([(4801, start("poweron"))]), POWER, {}),
        (Script([(4801, start("panic"))]), POWER, {"restarts": "panic 1"}),
        (Script([(4801, start("poweron")), (4802, start("poweron"))]), POWER, {"restarts": "on 1"}),
        (Script(silent=[(3600, 4800)]), POWER, {}),
        (Script(silent=[(3600, 7000)]), POWER, {"silence": "silent for 3898 s"}),
        (Script(silent=[(9000, 12_000)]), "", {"silence": "silent for 3298 s from 2.417h on"}),
        (Script(silent=[(9000, 12_000)]), '[pass]\nsilence = "1h"', {}),
        (
            Script([(500, ("line", "Traceback (most recent call last):"))]),
            "",
            {"crashes": "1 lines as of a crash"},
        ),
        (Script(LEAKING), "[pass]\nlost = 20000", {"heap": "the heap loses 120 bytes an hour"}),
        (Script(STEADY), "[pass]\nlost = 20000", {}),
        (Script(), '[pass]\nlatency_half = "1s"', {"latency of half": "took up to 2s"}),
        (
            Script([(9000, ("joined",)), (9100, ("joined",))]),
            "[pass]\njoins = 1",
            {"joins": "joined 2 times"},
        ),
        (
            Script([(9000, ("on_air", 20.0)), (9100, ("on_air", 20.0))]),
            '[pass]\nair_time = "30s"',
            {"air time": "40.0 s on the air"},
        ),
        (Script(), "[pass]\nenergy = 961", {}),
        (Script(), "[pass]\nenergy = 959", {"energy": "draws 960 mAh a day"}),
        # What a noisy line says is not believed, and what arrived meanwhile counts.
        (
            Script([(3700, ("line", f"I 1.000 frame: {climate(77).hex()}"))]),
            fault("serial", at="1h", for_="20m"),
            {},
        ),
    ],
)
def test_how_a_node_is_judged(tmp_path, script, more, wrong):
    more = more if "heap_loss" in more or "[pass]" not in more else more + "\nheap_loss = 100"
    plan = load_plan(str(write(tmp_path, PLAN + more)))
    run = runner.run(plan, 7, script, draw(plan, 7, 0), command="citynode soak x")
    (node,) = run.nodes
    assert {name for name, _ in node.wrong} == set(wrong), node.wrong
    for name, text in node.wrong:
        assert wrong[name] in text
    assert run.passed == (not wrong)
    assert script.closed
    assert node.erases == {7: 3}
    assert node.energy_mah == pytest.approx(160, abs=0.01)
    assert {round(ma, 2) for _, ma in node.current} == {40.0}
    assert Run.from_json(run.to_json()) == run
    assert [(each.kind, each.node, each.t) for each in run.faults] == [
        (each.kind, each.node, each.at_s) for each in draw(plan, 7, 0)
    ]


def test_a_node_that_says_nothing_and_a_fault_that_did_not_come(tmp_path):
    plan = load_plan(str(write(tmp_path, PLAN + fault("power", every="7d"))))
    script = Script()
    script.open = lambda ear, faults: None
    script._steps = []
    outcome = shards.Outcome(runner.run(plan, 7, script, []).to_json())
    run, _ = shards.gather(plan, iter([outcome]), whole=True, expected=1)
    assert run.nodes[0].wrong == (("reports", "said nothing"),)
    assert run.failures("faults") == ("power did not happen: let it run longer, or give it a time",)


def test_workers_with_different_firmware_are_refused(tmp_path):
    plan = load_plan(str(write(tmp_path)))
    run = runner.run(plan, 7, Script(), []).to_json()
    outcomes = [shards.Outcome(run, b"", {"n": digest}) for digest in ("one", "other")]
    with pytest.raises(CitynodeError, match="not all workers have the same firmware"):
        shards.gather(plan, iter(outcomes), whole=True, expected=2)


def test_a_site_that_cannot_do_what_the_plan_wants(tmp_path):
    plan = load_plan(str(write(tmp_path, PLAN + fault("brownout", at="1h"))))
    script = Script()
    script.kinds = frozenset(("reset",))
    with pytest.raises(CitynodeError, match="this site cannot do brownout"):
        runner.run(plan, 7, script, draw(plan, 7, 0))


def test_an_interrupted_run_tells_what_it_has_seen(tmp_path):
    plan = load_plan(str(write(tmp_path)))
    lines = []
    script = Script(break_off_s=2 * HOUR)
    run = runner.run(plan, 7, script, [], log=lines.append)
    assert (run.interrupted, run.passed, script.closed) == (True, False, True)
    assert 20 <= run.nodes[0].received <= 24
    assert run.nodes[0].wrong == ()
    events = [json.loads(line) for line in lines]
    assert [each["at"] for each in events] == sorted(each["at"] for each in events)
    assert events[-1]["event"] == "verdict"
