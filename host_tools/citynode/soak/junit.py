"""The verdict of a soak as JUnit XML, of the kind that CI servers read (xunit2). No I/O.

A test case for each node and criterion, and for each criterion one of the whole fleet: there are
as many in a run that passed as in one that failed.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, indent, tostring

from citynode.soak.report_facts import utc, verdicts
from citynode.soak.report_markup import printable
from citynode.soak.results import Node, Run

_FLEET = "fleet"


def junit(run: Run) -> str:
    """Return the text of the XML file."""
    criteria = [verdict.criterion for verdict in verdicts(run)]
    cases = [_case(run, _FLEET, each.name, list(each.wrong)) for each in criteria]
    for node in run.nodes:
        cases += [_case(run, node.id, each.name, _wrong(node, each.name)) for each in criteria]
    reason = "the run was interrupted" if run.interrupted else "no node was heard"
    cases.append(
        _case(run, _FLEET, "completed", [reason] if run.interrupted or not run.nodes else [])
    )
    suite = _element(
        "testsuite",
        name=f"citynode soak {run.plan}",
        tests=len(cases),
        failures=sum(case.find("failure") is not None for case in cases),
        errors=0,
        skipped=0,
        time=f"{run.duration_s:.3f}",
        timestamp=utc(run).isoformat(timespec="seconds"),
    )
    properties = _element("properties")
    for name in ("plan", "seed", "clock", "command"):
        properties.append(_element("property", name=name, value=getattr(run, name)))
    suite.extend([properties, *cases])
    root = _element("testsuites")
    root.append(suite)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _case(run: Run, who: str, name: str, wrong: Sequence[str]) -> Element:
    case = _element("testcase", classname=f"soak.{run.plan}.{who}", name=name, time="0")
    if wrong:
        told = "; ".join(wrong)
        failure = _element("failure", message=told)
        failure.text = f"{printable(told)}\nThis run again: {printable(run.command)}"
        case.append(failure)
    return case


def _wrong(node: Node, name: str) -> list[str]:
    return [text or "not met" for criterion, text in node.wrong if criterion == name]


def _element(name: str, /, **attributes: object) -> Element:
    return Element(name, {key: printable(str(value)) for key, value in attributes.items()})
