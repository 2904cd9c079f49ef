"""The self-test without a board: what one may say, and how one may fail in the middle."""

import io
import json
from types import SimpleNamespace

import pytest
from citynode.bench import selftest
from citynode.bench.outcome import Outcome, Verdict
from citynode.bench.selftest import Choice, Item
from citynode.bench.selftest_lines import parse
from citynode.errors import CitynodeError
from citynode.link.errors import LinkError
from hypothesis import given, settings
from hypothesis import strategies as st

LINE = '{"item": "x", "verdict": "PASS", "value": 2.5, "unit": "V", "low": 1, "high": null}'
numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@pytest.mark.parametrize(
    ("said", "items", "more"),
    [
        ("", [], False),
        (LINE, [Item("x", Verdict.PASS, 2.5, "V", 1)], False),
        ("I (1) wifi: " + LINE + " and more", [Item("x", Verdict.PASS, 2.5, "V", 1)], False),
        ('{"more": ["x"]}\n[1]\n{"item": ""}', [], True),
        (
            '{"item": "x", "value": NaN}',
            [Item("x", Verdict.ERROR, detail="a verdict that is none")],
            False,
        ),
        ('{"item": "\\u001b[2J", "verdict": "SKIP"}', [Item("?[2J", Verdict.SKIP)], False),
        ("[" * 100_000 + "{" * 100_000, [], False),
    ],
)
def test_what_is_said_is_understood(said, items, more):
    assert parse(said) == (items, more)


@settings(max_examples=40)
@given(st.text() | st.lists(st.fixed_dictionaries({}, optional={
    "item": numbers, "verdict": st.sampled_from([*Verdict]) | numbers, "value": numbers,
    "low": numbers, "high": numbers, "unit": numbers, "detail": st.text() | numbers,
})).map(lambda lines: "\n".join(json.dumps(line) for line in lines)))  # fmt: skip
def test_anything_may_be_said(said):
    items, _ = parse(said)
    for item in items:
        assert item.name
        assert item.told().isprintable()
        back = json.loads(json.dumps(item.to_json(), allow_nan=False))
        assert back["verdict"] == item.verdict


class Ghost:
    """A REPL whose board does what the script says; `kind` for a LinkError, else what it prints."""

    def __init__(self, script, back=True):
        self.script = script
        self.back = back
        self.did = []

    def __call__(self, port, transport, leash):
        return self

    def connect(self, within_s=30):
        self.did.append("connect")
        if self.did.count("connect") > 1 and not self.back:
            raise LinkError("no_port", "p")

    def run(self, code):
        if "about" in code:
            return '{"board": "x", "mac": "24", "node_id": "n", "version": "1"}'
        if "names()" in code:
            return '{"items": ["a", "b", "c"], "by_choice": ["led", "button"]}'
        for name, said in self.script.items():
            if f"['{name}']" in code or ("resume" in code and name == "resume"):
                if callable(said):
                    said = said()
                if said in ("lost", "no_repl", "silent", "stopped", "program"):
                    raise LinkError(said, "p", "why")
                return said
        return json.dumps({"item": code.split("'")[1], "verdict": "PASS"})

    def restart(self):
        self.did.append("restart")

    def close(self):
        self.did.append("close")


class Person:
    def __init__(self, answer):
        self.answer = answer
        self.told = []

    def tell(self, port, text):
        self.told.append(text)

    def agrees(self, port, question):
        return self.answer


def ghost_run(monkeypatch, ghost, **options):
    monkeypatch.setattr(selftest, "Repl", ghost)
    bench = SimpleNamespace(
        port="p",
        leash=SimpleNamespace(is_cut=False),
        step=lambda step: None,
        progress=lambda done, total: None,
    )
    items = selftest.run(bench, Outcome("p"), **options)
    assert "restart" in ghost.did
    return {item.name: item.verdict.value for item in items}


@pytest.mark.parametrize(
    ("script", "back", "expected"),
    [
        ({"a": "lost"}, True, "ERROR PASS PASS"),
        ({"a": "lost"}, False, "ERROR ABORTED ABORTED"),
        ({"b": "silent"}, True, "PASS TIMEOUT PASS"),
        ({"b": "no_repl"}, False, "PASS TIMEOUT ABORTED"),
        ({"b": "program"}, True, "PASS ERROR PASS"),
        ({"b": ""}, False, "PASS ERROR PASS"),
        ({"b": '{"more": ["b"]}', "resume": LINE.replace("x", "b")}, False, "PASS PASS PASS"),
        ({"b": '{"more": ["b"]}', "resume": '{"more": ["b"]}'}, True, "PASS TIMEOUT PASS"),
    ],
)
def test_a_board_that_fails_in_the_middle(monkeypatch, script, back, expected):
    monkeypatch.setattr(selftest, "_LONGEST_S", 0.05)
    found = ghost_run(monkeypatch, Ghost(script, back))
    assert found == dict(zip("abc", expected.split(), strict=True))


def test_a_node_that_sleeps_is_reset_first(monkeypatch):
    ghost = Ghost({})
    connect, tries = ghost.connect, ["no_repl"]

    def late(within_s=30):
        if tries:
            raise LinkError(tries.pop(), "p")
        connect(within_s)

    monkeypatch.setattr(ghost, "connect", late)
    monkeypatch.setattr(selftest.lines, "open_listening", lambda port: io.BytesIO())
    monkeypatch.setattr(selftest.lines, "reset", lambda port, line: ghost.did.append("reset"))
    assert set(ghost_run(monkeypatch, ghost).values()) == {"PASS"}
    assert ghost.did[:3] == ["close", "reset", "connect"]


def test_an_item_that_there_is_not(monkeypatch):
    with pytest.raises(
        CitynodeError, match="no item is called 'x'; known are a, b, c, led, button"
    ):
        ghost_run(monkeypatch, Ghost({}), choice=Choice(skip=("a", "x")))


@pytest.mark.parametrize(("answer", "verdict"), [(True, "PASS"), (False, "FAIL")])
def test_somebody_looks_at_the_led_and_presses_the_button(monkeypatch, answer, verdict):
    person = Person(answer)
    choice = Choice(skip=("a", "b", "c"), more=("led", "button"))
    found = ghost_run(monkeypatch, Ghost({}), choice=choice, operator=person)
    assert found == {"led": verdict, "button": "PASS"}
    assert person.told == ["press the BOOT button, and let it go"]
