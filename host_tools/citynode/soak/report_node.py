"""The report's view of one node: what is wrong with it, its plots and its figures."""

from statistics import median
from xml.etree.ElementTree import Element

from citynode.soak import report_scale as scale
from citynode.soak.report_facts import ENDURANCE, Facts, Whole, by_kind, shades, spans
from citynode.soak.report_markup import Child, count, table, tag
from citynode.soak.report_plots import Marks, Time, latencies, sectors
from citynode.soak.report_scale import DAY, Point
from citynode.soak.results import Fault, Node

_BUCKETS = 240
_FAULTS = 20  # in the table, at most
_YEAR_S = 365.25 * DAY


def section(whole: Whole, node: Node) -> Element:
    """Return all that is known of a node."""
    facts = whole.facts[node.id]
    verdict = "✗ failed" if node.wrong else "✓ passed"
    place = [f"board {node.board}", f"profile {node.profile}"]
    if node.cell:
        place.append(node.cell)
    wrong = [tag("li", f"{name}: {text}") for name, text in node.wrong]
    return tag(
        "section",
        tag(
            "h2",
            tag("span", node.id, class_="name"),
            " ",
            tag("strong", verdict, class_="bad" if node.wrong else "good"),
        ),
        tag("p", " · ".join(place), class_="note"),
        tag("ul", *wrong, class_="wrong") if wrong else None,
        tag("div", *_plots(whole, facts), class_="plots"),
        tag("div", _figures(whole, facts), _measured(facts), class_="plots"),
        _faults(whole.own(node)),
        class_="node",
        id=whole.anchor(node),
    )


def _plots(whole: Whole, facts: Facts) -> list[Child]:
    node, found = facts.node, list[Child]()
    own, around = whole.own(node), whole.around(node)
    time = Time(whole.span_s, shades([*own, *around]))
    lanes = [
        Marks(f"restart: {cause}", f"{number:,}×", [(t, t) for t, c in node.restarts if c == cause])
        for cause, number in facts.causes.most_common()
    ]
    lanes += [Marks(kind, _lasted(each), spans(each)) for kind, each in by_kind(own).items()]
    for kind, each in by_kind(around).items():
        lanes.append(Marks(f"{kind} (not its own)", _lasted(each), spans(each)))
    if lanes:
        told = f"{count(len(node.restarts), 'restart')}, {count(len(own), 'fault')} of its own"
        plot = Time(whole.span_s).lanes("Restarts and faults", told, lanes)
        found.append(tag("div", plot, class_="wide"))
    times = [frame[0] for frame in node.frames]
    if times or node.gaps:
        width = scale.bucket_s(times, whole.span_s, _BUCKETS)
        told = f"{count(len(times), 'frame')}, {count(len(node.gaps), 'gap')}; grey: faults"
        numbers = scale.counts(times, width, whole.span_s)
        title = f"Frames in {scale.length(width)}" + (", boxes: gaps" if node.gaps else "")
        found.append(time.bars(title, told, numbers, width, node.gaps))
    series: list[tuple[str, str, list[Point]]] = [
        ("Free heap, KiB", "KiB", [(t, free / 1024) for t, free in node.heap]),
        ("RSSI, dBm", "dBm", [(t, rssi) for t, rssi, _ in node.link]),
        ("SNR, dB", "dB", facts.snr),
        ("Current, mA", "mA", list(node.current)),
    ]
    for title, unit, points in series:
        if points:
            values = [value for _, value in points]
            told = f"From {scale.brief(min(values))} to {scale.brief(max(values))} {unit}"
            found.append(time.line(title, told, points))
    if facts.latencies:
        told = f"The last after {scale.length(facts.latencies[-1])}"
        title = "Latency: records that took up to …"
        found.append(latencies(title, told, facts.latencies))
    if node.erases:
        title = "Erases of each sector of 4 KiB"
        told = f"Sector {facts.worst_sector} most: {facts.most_erases:,}"
        found.append(sectors(title, told, node.erases))
    return found


def _figures(whole: Whole, facts: Facts) -> Element:
    node = facts.node
    causes = ", ".join(f"{cause} {number:,}" for cause, number in facts.causes.most_common())
    figures: dict[str, str] = {
        "accepted": f"{node.accepted:,}",
        "received": f"{node.received:,}",
        "lost": f"{node.lost:,}",
        "repeated": f"{node.repeated:,}",
        "gaps": _gaps(facts),
        "restarts": causes or "none",
        "joins": f"{node.joins:,}",
    }
    if node.air_time_s:
        share = 100 * node.air_time_s / whole.span_s
        figures["air time"] = f"{scale.length(node.air_time_s)} ({scale.brief(share)} %)"
    if node.energy_mah is not None:
        per_day = node.energy_mah * DAY / max(1.0, whole.run.duration_s)
        figures["energy"] = f"{scale.brief(node.energy_mah)} mAh ({scale.brief(per_day)} mAh a day)"
    if node.erases:
        figures["wear"] = _wear(whole, facts)
    return table("Figures", ("what", "value"), list(figures.items()))


def _gaps(facts: Facts) -> str:
    gaps = facts.node.gaps
    return f"{len(gaps):,}, longest {scale.length(facts.longest_gap)}" if gaps else "none"


def _wear(whole: Whole, facts: Facts) -> str:
    worst, most = facts.worst_sector, facts.most_erases
    if worst is None or not most:
        return "no sector was erased"
    total = sum(facts.node.erases.values())
    years = ENDURANCE / most * whole.span_s / _YEAR_S
    return (
        f"sector {worst} most: {count(most, 'erase')} of {total:,}; "
        f"at this pace {ENDURANCE:,} after {scale.brief(years)} years"
    )


def _measured(facts: Facts) -> Element | None:
    node = facts.node
    series: list[tuple[str, list[float]]] = [
        ("free heap, KiB", [free / 1024 for _, free in node.heap]),
        ("RSSI, dBm", [rssi for _, rssi, _ in node.link]),
        ("SNR, dB", [snr for _, snr in facts.snr]),
        ("current, mA", [ma for _, ma in node.current]),
    ]
    rows: list[list[Child]] = []
    for name, values in series:
        if values:
            middle = median(values)
            shown = (min(values), middle, max(values), values[-1])
            rows.append([name, *(scale.brief(value) for value in shown)])
    if facts.latencies:
        waits = (facts.latencies[0], median(facts.latencies), facts.latencies[-1])
        rows.append(["latency", *(scale.length(wait) for wait in waits), "–"])
    head = ("measured", "lowest", "median", "highest", "last")
    return table("Measured", head, rows, "numbers") if rows else None


def _faults(own: list[Fault]) -> Element | None:
    if not own:
        return None
    own = sorted(own, key=lambda fault: (fault.t, fault.kind))
    rows: list[list[Child]] = []
    for fault in own[:_FAULTS]:
        lasted = "–" if fault.until is None else scale.length(fault.lasted_s)
        rows.append([scale.moment(fault.t), lasted, fault.kind, fault.detail])
    title = "Faults of this node"
    if len(own) > _FAULTS:
        title += f": the first {_FAULTS} of {len(own):,}"
    return table(title, ("at", "for", "kind", "what"), rows)


def _lasted(found: list[Fault]) -> str:
    lasted = sum(fault.lasted_s for fault in found)
    return f"{len(found):,}×" + (f", {scale.length(lasted)} in all" if lasted else "")
