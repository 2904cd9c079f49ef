"""The report of a soak: whatever a run holds, a page that says it, in little room."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from citynode.soak import report_scale as scale
from citynode.soak.junit import junit
from citynode.soak.report import render
from citynode.soak.results import Criterion, Fault, Node, Run, RunError, merge
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

DAY = 86400.0
HOSTILE = "<script>alert('x')</script>&\"><img src=x onerror=y>"
TURNED = "a\u202etxt.exe\x00\n"  # turns what follows around; no HTML may have the others


def fleet(count, days, every_s, **changes):
    """A run like those of the plans, some of its nodes with each thing that a report shows."""
    span = days * DAY
    kinds = ("power cut", "WiFi away", "sensor", "I2C held low", "flash error")
    nodes, faults = [], [Fault("broker away", None, span * 0.2, span * 0.25, "killed")]
    for place in range(count):
        name, number = f"node-{place}", int(span / every_s)
        frames = [(n * every_s + place % 60, n, 0.1 + n * 7919 % 4000 / 100) for n in range(number)]
        where = span * (place % 10) / 10
        until = None if place % 2 else where + 900
        faults.append(Fault(kinds[place % len(kinds)], name, where, until, "at operation 17"))
        nodes.append(
            Node(
                name, "esp32-devkit", "climate", f"gw-{place % 12}", tuple(frames),
                gaps=((where, where + every_s * 3),) if place % 7 == 3 else (),
                heap=tuple((t, 90_000 + n * 7919 % 3000) for t, n, _ in frames[::6]),
                link=tuple((t, -90 - n * 31 % 17, n * 13 % 9 - 2.5) for t, n, _ in frames[::6]),
                restarts=((where, "poweron"),) if place % 2 else (),
                erases={512 + n: n * 7919 % 97 for n in range(200)},
                energy_mah=12.5, air_time_s=31.0, joins=1, accepted=number, received=number,
                wrong=(("loss", f"{place} records lost"),) if place % 400 == 5 else (),
            )
        )  # fmt: skip
    criteria = Criterion("loss", "0 records"), Criterion("gaps", "at most 6 h")
    terms = {
        "plan": "night", "seed": 7, "started": 1.8e9, "duration_s": span, "clock": "virtual",
        "nodes": tuple(nodes), "faults": tuple(faults), "criteria": criteria,
        "command": "citynode soak night --seed 7",
    }  # fmt: skip
    return Run(**{**terms, **changes})


class Page(HTMLParser):
    """What a browser would find; fails where elements are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.elements, self.words = text, [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def words_only(self):
        return " ".join("".join(f"{word}\0" for word in self.words).replace("\0", " ").split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def month():
    return fleet(20, 30, 7200)


# -- the page -------------------------------------------------------------------------------------


def test_a_report_tells_the_verdict_each_node_each_fault_and_what_failed(month):
    words = Page(render(month)).words_only
    assert "✗ failed" in words
    assert "1 of 20 nodes failed over 30 d of virtual time; 1 criterion is not met." in words
    assert month.command in words
    for node in month.nodes:
        assert f"{node.id} " in words
    for kind in {fault.kind for fault in month.faults}:
        assert f"{kind} " in words
    assert "loss 0 records ✗ not met node-5 : 5 records lost" in words
    assert "gaps at most 6 h ✓ met" in words


def test_a_run_without_fault_has_passed():
    run = fleet(3, 1, 600, criteria=(Criterion("loss", "0 records"),))
    words = Page(render(run)).words_only
    assert "✓ passed" in words
    assert "3 nodes over 1 d of virtual time, 1 criterion met." in words
    assert "not met" not in words


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"interrupted": True}, "The run was interrupted."),
        ({"nodes": ()}, "No node was heard in 1 d of virtual time."),
        ({"criteria": (Criterion("faults", "all", ("no power cut",)),)}, "the fleet: no power cut"),
        (
            {"criteria": (), "nodes": (Node("n", "b", "p", wrong=(("new", "x"),)),)},
            "new ✗ not met n : x",
        ),
    ],
)
def test_what_is_not_of_one_node_fails_a_run_too(changes, told):
    run = fleet(2, 1, 600, **changes)
    assert not run.passed
    words = Page(render(run)).words_only
    assert "✗ failed" in words
    assert told in words


def test_names_and_texts_of_others_are_only_text():
    node = Node(
        HOSTILE, HOSTILE, TURNED, HOSTILE, ((1.0, 1, 2.0),), restarts=((3.0, HOSTILE),),
        wrong=((HOSTILE, TURNED), (TURNED, HOSTILE)),
    )  # fmt: skip
    run = fleet(
        0, 1, 600, plan=HOSTILE, command=HOSTILE, nodes=(node,),
        faults=(Fault(HOSTILE, HOSTILE, 4.0, None, HOSTILE), Fault(TURNED, None, 5.0, 6.0)),
        criteria=(Criterion(HOSTILE, HOSTILE, (HOSTILE,)),),
    )  # fmt: skip
    page = Page(render(run))
    assert {"script", "img", "object", "iframe", "base"}.isdisjoint(tag for tag, _ in page.elements)
    assert page.words_only.count(HOSTILE) > 8
    assert r"a\u202etxt.exe\u0000\u000a" in page.words_only
    assert not {"\u202e", "\x00"} & set(page.text)
    case = ElementTree.fromstring(junit(run)).find("testsuite/testcase")
    assert (case.get("name"), case.find("failure").get("message")) == (HOSTILE, HOSTILE)


def test_a_report_needs_nothing_else_and_allows_nothing_else(month):
    page = Page(render(month))
    (style,) = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ]
    assert "url(" not in style
    assert "@import" not in style
    places = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(places) == len(set(places)) == len(month.nodes)
    for _, attributes in page.elements:
        assert not {"style", "src", "srcset"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert attributes["href"].removeprefix("#") in places


def test_each_plot_has_a_name_and_each_table_a_caption(month):
    page = Page(render(month))
    plots = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    titles = [tag for tag, _ in page.elements if tag == "title"]
    assert len(plots) == len(titles) - 1  # the page has one too
    assert len(page.all("caption")) == len(page.all("table"))
    assert {attributes.get("scope") for attributes in page.all("th")} == {"row", "col"}


@pytest.mark.parametrize(("count", "days", "every_s"), [(1000, 1, 600), (20, 30, 900)])
def test_a_report_stays_small(count, days, every_s):
    run = fleet(count, days, every_s)
    text = render(run)
    assert len(text.encode()) < 2 << 20
    words = Page(text).words_only
    assert all(f"{node.id} " in words for node in run.nodes)
    assert all(f"{node.id} : {node.wrong[0][1]}" in words for node in run.nodes if node.wrong)


# -- any run --------------------------------------------------------------------------------------

names = st.text(max_size=20)
seconds = st.floats(0, 1e10) | st.floats(0, 1000)
values = st.floats(-1e12, 1e12) | st.floats(-130, 30)
numbers = st.integers(0, (1 << 48) - 1) | st.integers(0, 100)


def several(*parts):
    return st.lists(st.tuples(*parts), max_size=4).map(tuple)


nodes = st.builds(
    Node, names, names, names, cell=st.none() | names,
    frames=several(seconds, numbers, st.none() | seconds), gaps=several(seconds, seconds),
    heap=several(seconds, numbers), link=several(seconds, values, st.none() | values),
    restarts=several(seconds, names), erases=st.dictionaries(numbers, numbers, max_size=4),
    energy_mah=st.none() | values, air_time_s=seconds, joins=numbers, accepted=numbers,
    received=numbers, lost=numbers, repeated=numbers, wrong=several(names, names),
)  # fmt: skip
faults = st.builds(
    Fault, names, st.none() | names, seconds, st.none() | seconds, names, st.none() | names
)
asked = st.lists(st.tuples(names, names), max_size=3, unique_by=lambda pair: pair[0])


@st.composite
def runs(draw, shards=1):
    """A run in so many shards: what they are of is the same, what they found is not."""
    found = draw(st.lists(nodes, max_size=4, unique_by=lambda node: node.id))
    terms = (
        draw(names),
        draw(st.integers()),
        draw(seconds),
        draw(st.sampled_from(["virtual", "real"])),
    )
    command, criteria = draw(names), draw(asked)
    return [
        Run(
            terms[0], terms[1], terms[2], draw(seconds), terms[3], tuple(found[place::shards]),
            tuple(draw(st.lists(faults, max_size=3))),
            tuple(
                Criterion(name, limit, tuple(draw(st.lists(names, max_size=2))))
                for name, limit in criteria
            ),
            command, draw(st.booleans()),
        )
        for place in range(shards)
    ]  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(runs())
def test_any_run_is_the_same_from_json_and_has_a_report(found):
    (run,) = found
    assert Run.from_json(run.to_json()) == run
    page = Page(render(run))
    assert ("✓ passed" if run.passed else "✗ failed") in page.words_only
    for svg in page.all("path"):
        assert re.fullmatch(r"[MLHVhvlz0-9 .-]+", svg["d"])
    suite = ElementTree.fromstring(junit(run)).find("testsuite")
    assert (suite.get("failures") == "0") == run.passed


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(found=runs(shards=3), data=st.data())
def test_shards_come_together_in_any_order(found, data):
    whole = merge(found)
    assert merge(data.draw(st.permutations(found))) == whole
    assert merge([merge(found[:2]), found[2]]) == whole
    assert {node.id for node in whole.nodes} == {node.id for run in found for node in run.nodes}
    assert set(whole.faults) == {fault for run in found for fault in run.faults}
    assert len(set(whole.faults)) == len(whole.faults)
    for criterion in whole.criteria:
        told = {text for run in found for text in run.failures(criterion.name)}
        assert set(criterion.wrong) == told


def test_shards_that_do_not_belong_together_are_refused(month):
    other = fleet(1, 1, 600, seed=8)
    for shards in ([], [month, other], [month, month]):
        with pytest.raises(RunError):
            merge(shards)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def branches(tree):
    """Every place in a JSON tree, by its container and key."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from branches(tree[key])


@settings(max_examples=60)
@given(data=st.data())
def test_json_is_a_run_or_one_error(data):
    tree = json.loads(fleet(2, 0.02, 600).to_json())
    container, key = data.draw(st.sampled_from(list(branches(tree))))
    container[key] = data.draw(JSON)
    try:
        run = Run.from_json(json.dumps(tree))
    except RunError as error:
        told = str(error)
    else:
        told = ""
        assert Run.from_json(run.to_json()) == run
    assert "\n" not in told
    assert told.startswith("the soak's result is wrong: ") or not told


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, "NaN", b"\xff\xfe", '{"passed":1}']
)
def test_what_is_no_run_is_one_error(text):
    with pytest.raises(RunError):
        Run.from_json(text)


def test_a_verdict_that_its_run_does_not_bear_out_is_refused(month):
    text = month.to_json()
    assert text.startswith('{"passed":false,')
    with pytest.raises(RunError, match="passed"):
        Run.from_json(text.replace('"passed":false', '"passed":true', 1))


# -- arithmetic -----------------------------------------------------------------------------------

points = st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e9, 1e9)), max_size=300).map(sorted)


@given(points, st.integers(4, 200))
def test_what_is_left_out_is_neither_an_end_nor_an_extreme(all_points, at_most):
    kept = scale.downsample(all_points, at_most)
    assert len(kept) <= at_most
    places = iter(all_points)
    assert all(point in places for point in kept)  # in order, and none that was not there
    if all_points:
        assert (kept[0], kept[-1]) == (all_points[0], all_points[-1])
        heights = [value for _, value in all_points]
        assert {min(heights), max(heights)} <= {value for _, value in kept}


@example(4294967296.0, 4294967296.000001, 2)
@example(0.0, 5e-324, 3)
@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.integers(2, 6))
def test_ticks_are_round_and_reach_around_all(one, other, about):
    low, high = sorted((one, other))
    marks = scale.ticks(low, high, about)
    slack = 1e-9 * max(abs(low), abs(high), 1)
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= about + 3
    assert marks == sorted(set(marks))


@given(st.floats(1, 1e10), st.integers(3, 8))
def test_times_below_a_plot_are_few_and_within_it(span, at_most):
    marks = scale.time_ticks(span, at_most)
    assert marks[0] == 0
    assert marks[-1] <= span * (1 + 1e-9)
    assert len(marks) <= at_most


@given(st.lists(st.floats(0, 1e6), max_size=100), st.floats(1000, 1e5))
def test_each_frame_is_in_one_bucket(times, width):
    assert sum(scale.counts(times, width, 1e6)) == len(times)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.02, "20 ms"), (0.25, "0.25 s"), (90, "90 s"), (150, "2.5 min"),
     (5400, "1.5 h"), (86400 * 30, "30 d"), (86400 * 2000, "2,000 d")],
)  # fmt: skip
def test_a_length_of_time_in_words(seconds, text):
    assert scale.length(seconds) == text


# -- JUnit XML ------------------------------------------------------------------------------------

# What xunit2 readers take: attributes that must be there, that may be, and elements inside.
XUNIT2 = {
    "testsuites": (set(), {"name", "tests", "failures", "errors", "time"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": ({"name", "classname"}, {"time"}, {"skipped", "error", "failure", "system-out"}),
    "failure": (set(), {"message", "type"}, set()),
}


def test_the_junit_file_is_what_ci_servers_read(month):
    root = ElementTree.fromstring(junit(month))
    for element in root.iter():
        needed, allowed, inside = XUNIT2[element.tag]
        assert needed <= set(element.attrib) <= needed | allowed
        assert {child.tag for child in element} <= inside
    (suite,) = root
    cases = suite.findall("testcase")
    per_node = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(per_node) == len(set(per_node)) == 20 * 2 + 2 + 1
    assert ("soak.night.node-7", "gaps") in per_node
    assert ("soak.night.fleet", "completed") in per_node
    failed = [case for case in cases if case.find("failure") is not None]
    assert [(case.get("classname"), case.get("name")) for case in failed] == [
        ("soak.night.node-5", "loss")
    ]
    assert failed[0].find("failure").get("message") == "5 records lost"
    assert month.command in failed[0].find("failure").text
    assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), "1")
