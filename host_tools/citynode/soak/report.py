"""The report of a soak: one HTML file that needs nothing else, has no script, and allows none."""

import base64
import hashlib
from pathlib import Path
from xml.etree.ElementTree import Element

from citynode.soak import report_fleet, report_node
from citynode.soak import report_scale as scale
from citynode.soak.report_facts import Verdict, Whole, in_order, utc
from citynode.soak.report_markup import Child, count, link, page, raw_style, table, tag
from citynode.soak.results import Run

_CSS = Path(__file__).with_name("report.css")
_DETAILED = 40  # nodes that are shown in detail, at most
_NAMED = 12  # nodes that a failed criterion names, at most


def render(run: Run) -> str:
    """Return the report as the text of an HTML file."""
    whole = Whole(run, _DETAILED)
    style = _CSS.read_text(encoding="utf-8") + report_fleet.column_labels(whole)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"Soak {run.plan}: {'passed' if run.passed else 'failed'}"),
        raw_style(style),
    )
    parts = _verdict(whole), report_fleet.overview(whole), report_fleet.nodes(whole)
    sections = [report_node.section(whole, node) for node in whole.detailed]
    return page(tag("html", head, tag("body", tag("main", *parts, *sections)), lang="en"))


def _verdict(whole: Whole) -> Element:
    run = whole.run
    word = tag("strong", "✓ passed" if run.passed else "✗ failed", class_=_colour(run.passed))
    return tag(
        "header",
        tag("h1", "Soak ", tag("span", run.plan, class_="name"), " ", word),
        tag("p", _sentence(whole), class_="lead"),
        tag("p", "This run again:"),
        tag("pre", tag("code", run.command)),
        _criteria(whole),
        _terms(whole),
    )


def _sentence(whole: Whole) -> str:
    run = whole.run
    failed = sum(bool(node.wrong) for node in run.nodes)
    unmet = sum(not verdict.passed for verdict in whole.verdicts)
    time = f"{scale.length(run.duration_s)} of {run.clock} time"
    if not run.nodes:
        return f"No node was heard in {time}."
    begun = "The run was interrupted. " if run.interrupted else ""
    if not failed and not unmet:
        all_met = f"{count(len(whole.verdicts), 'criterion', 'criteria')} met"
        return f"{begun}{count(len(run.nodes), 'node')} over {time}, {all_met}."
    criteria = count(unmet, "criterion is", "criteria are")
    of_all = f"{failed:,} of {count(len(run.nodes), 'node')}"
    return f"{begun}{of_all} failed over {time}; {criteria} not met."


def _criteria(whole: Whole) -> Child:
    rows: list[list[Child]] = []
    for verdict in sorted(whole.verdicts, key=lambda verdict: verdict.passed):
        name, limit = verdict.criterion.name, verdict.criterion.limit
        sign = tag("b", "✓ met" if verdict.passed else "✗ not met", class_=_colour(verdict.passed))
        rows.append([name, limit, sign, _who(whole, verdict)])
    head = ["criterion", "limit", "result", "by whom"]
    if all(verdict.passed for verdict in whole.verdicts):
        del head[-1]
        rows = [row[:-1] for row in rows]
    return table("What was asked", head, rows, "asked") if rows else None


def _who(whole: Whole, verdict: Verdict) -> Child:
    if verdict.passed:
        return None
    items = [tag("li", f"the fleet: {text}") for text in verdict.criterion.wrong[:_NAMED]]
    for node in in_order(verdict.nodes)[:_NAMED]:
        told = "; ".join(text for name, text in node.wrong if name == verdict.criterion.name)
        items.append(tag("li", link(node.id, whole.anchor(node)), f": {told}"))
    if (more := len(verdict.nodes) - _NAMED) > 0:
        items.append(tag("li", f"and {count(more, 'node')} more"))
    return tag("ul", *items)


def _terms(whole: Whole) -> Element:
    run = whole.run
    facts = {
        "plan": run.plan,
        "seed": str(run.seed),
        "clock": run.clock,
        "start (UTC)": f"{utc(run):%Y-%m-%d %H:%M:%S}" if run.started else "",
        "length": scale.length(run.duration_s),
        "faults done": f"{len(run.faults):,}",
    }
    pairs = [tag("div", tag("dt", name), tag("dd", text)) for name, text in facts.items() if text]
    return tag("dl", *pairs)


def _colour(passed: bool) -> str:
    return "good" if passed else "bad"
