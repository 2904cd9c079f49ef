"""`citynode fleet import`, `export` and `labels`: what comes in and goes out as files."""

import json
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from citynode.cli import fleet_parts as parts
from citynode.cli.export import ApplicationId, DeviceProfileId, FrequencyPlan
from citynode.errors import CitynodeError
from citynode.fleet import formats, gis, importing, tr005
from citynode.fleet import table as tables
from citynode.fleet.export import FREQUENCY_PLAN, Format, Server, device, render
from citynode.fleet.inventory import Fleet
from citynode.fleet.node import Entry, Node, Result, Stage, Status
from citynode.fleet.query import Filter
from citynode.fleet.table import Fault, Sheet
from citynode.identity import Store

_GLOB = frozenset("*?[")


class FleetFormat(StrEnum):
    """What the file is for."""

    CSV = "csv"
    TTS_CSV = "tts-csv"
    TTS_JSON = "tts-json"
    CHIRPSTACK = "chirpstack"
    GIS_CSV = "gis-csv"
    GEOJSON = "geojson"


_FILE_NAMES = {
    FleetFormat.CSV: "citynode-fleet.csv",
    FleetFormat.TTS_CSV: Format.TTS_CSV.file_name,
    FleetFormat.TTS_JSON: Format.TTS_JSON.file_name,
    FleetFormat.CHIRPSTACK: Format.CHIRPSTACK.file_name,
    FleetFormat.GIS_CSV: "citynode-gis.csv",
    FleetFormat.GEOJSON: "citynode.geojson",
}


def import_nodes(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CSV]", show_default=False, help="CSV with a header line; - for stdin."
        ),
    ] = None,
    from_identities: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Instead of a CSV: the folder of identities that flash and provision have made "
            "without a fleet.",
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Change nodes that are there; else they are refused.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take the good rows; else all or nothing.")
    ] = False,
    batch: Annotated[
        str | None, typer.Option(show_default=False, help="Batch of the rows that name none.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", show_default=False, help="Leave it out; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only: write nothing.")] = False,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Take nodes in: node_id or mac, and what else is known. Every wrong row is named.

    Columns: node_id, mac, dev_eui, join_eui, app_key, board, batch, site, lat, lon, notes,
    wifi_ssid and so on; any others are kept and given back. Exit code 1 if a row was wrong.
    """
    if (file is None) == (from_identities is None):
        raise CitynodeError("nothing to import", "give a CSV file, or --from-identities DIR")
    places: list[str] = []
    if from_identities is not None:
        where = str(from_identities)
        sheet, places = _identities(from_identities)
        update = True  # those that are the same are no fault
    else:
        where, sheet = str(file), _sheet(file or Path("-"), without or ())
    rows = [(line, _in_batch(entry, batch)) for line, entry in sheet.rows]
    with parts.open_fleet(fleet) as inventory:
        taken = importing.take(
            inventory, rows, sheet.faults, update=update, partial=partial, dry_run=dry_run
        )
    imported = not dry_run and (partial or not taken.faults)
    if as_json:
        print(
            json.dumps(
                {
                    "file": where,
                    "imported": imported,
                    "added": taken.added,
                    "changed": taken.changed,
                    "same": taken.same,
                    "not_taken": sheet.not_taken,
                    "faults": [_as_json(fault, places) for fault in taken.faults],
                }
            )
        )
    for fault in taken.faults:
        place = f"{places[fault.line - 1]}, " if places else f"line {fault.line}, "
        what = f"{place}{fault.column}: {fault.cause}"
        print(f"citynode: {where}: {what}", file=sys.stderr)
    if sheet.not_taken:
        print(f"citynode: {where}: not taken: {', '.join(sheet.not_taken)}", file=sys.stderr)
    if taken.faults and not partial:
        count = len({fault.line for fault in taken.faults})
        print(
            f"citynode: {where}: {count} row{'s' * (count != 1)} wrong: nothing was imported; "
            "correct them, or give --partial",
            file=sys.stderr,
        )
    elif not as_json:
        what = f"{taken.added} added, {taken.changed} changed, {taken.same} as before"
        print(f"{where}: {what}{' (dry run: nothing was written)' if dry_run else ''}")
    if taken.faults:
        raise typer.Exit(1)


def _as_json(fault: Fault, places: Sequence[str]) -> dict[str, object]:
    told: dict[str, object] = {"column": fault.column, "cause": fault.cause}
    return told | ({"file": places[fault.line - 1]} if places else {"line": fault.line})


def _identities(folder: Path) -> tuple[Sheet, list[str]]:
    if not folder.is_dir():
        raise CitynodeError(f"{folder} is no folder", "give --from-identities the folder 'nodes'")
    identities = Store(folder).all()
    return Sheet(importing.from_identities(identities)), [f"{mac}.json" for mac in identities]


def _in_batch(entry: Entry, batch: str | None) -> Entry:
    return replace(entry, batch=batch) if batch is not None and entry.batch is None else entry


def _sheet(path: Path, without: Sequence[str]) -> Sheet:
    if path == Path("-"):
        return tables.read(sys.stdin.buffer.read(tables.MAX_SIZE + 1), "stdin", without)
    try:
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(tables.MAX_SIZE + 1)
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", "give a readable CSV file"
        ) from None
    sheet = tables.read(data, str(path), without)
    secret = any(entry.secrets for _, entry in sheet.rows)
    if secret and os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CitynodeError(f"others can read {path}, which has secrets", f"chmod 600 {path}")
    return sheet


def export_nodes(
    node: parts.Names = None,
    form: Annotated[
        FleetFormat,
        typer.Option("--format", "-f", help="csv has all columns, gis-csv and geojson places."),
    ] = FleetFormat.CSV,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="The file, readable by you alone; - for stdout. Else citynode-….",
        ),
    ] = None,
    batch: parts.Batch = None,
    site: parts.Site = None,
    stage: parts.StageIs = None,
    status: parts.StatusIs = None,
    where: parts.Where = None,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="csv: with AppKeys and passwords, in plain text.")
    ] = False,
    delimiter: Annotated[str, typer.Option(help="csv: what is between columns.")] = ",",
    frequency_plan: FrequencyPlan = FREQUENCY_PLAN,
    application_id: ApplicationId = None,
    device_profile_id: DeviceProfileId = None,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Write nodes to a file: for a spreadsheet, a network server, or a map (WGS84, EPSG:4326).

    Retired nodes are in csv alone, or if --status asks for them. The files of network servers
    hold AppKeys; csv only with --with-keys; the others never.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise CitynodeError("--delimiter is one character", "give ',' or ';'")
    wanted = parts.wanted(node, batch, site, stage, status, where)
    server = Server(frequency_plan, application_id, device_profile_id)
    with parts.open_fleet(fleet) as inventory:
        nodes = inventory.chosen(wanted)
        if form is not FleetFormat.CSV:
            nodes = _in_service(nodes, wanted)
        content, written = _content(inventory, form, wanted, nodes, with_keys, delimiter, server)
        inside = {each.number for each in written}
        left_out = [each.node_id for each in nodes if each.number not in inside]
        target = output or Path(_FILE_NAMES[form])
        if form in (FleetFormat.TTS_CSV, FleetFormat.TTS_JSON, FleetFormat.CHIRPSTACK) or with_keys:
            inventory.note("export", None, f"{form.value}, {len(written)} nodes, with keys")
    if target == Path("-"):
        sys.stdout.write(content.decode())
    else:
        parts.write(target, content)
    out = sys.stderr if target == Path("-") else sys.stdout
    if as_json:
        told = {"file": str(target), "format": form.value, "nodes": len(written)}
        print(json.dumps(told | {"left_out": left_out}), file=out)
    else:
        places = form in (FleetFormat.GIS_CSV, FleetFormat.GEOJSON)
        parts.warn_of(left_out, "has no place" if places else "has no LoRaWAN identity")
        print(f"{target}: {len(written)} node{'s' * (len(written) != 1)}", file=out)
    named = {name for name in node or () if not _GLOB & set(name)}
    if named & set(left_out):
        raise typer.Exit(1)


def _in_service(nodes: Sequence[Node], wanted: Filter) -> list[Node]:
    if wanted.status is not None:
        return list(nodes)
    kept = [each for each in nodes if each.status != Status.RETIRED]
    if not kept:
        raise CitynodeError("all of them are retired", "give --status retired if you mean them")
    return kept


def _content(
    inventory: Fleet,
    form: FleetFormat,
    wanted: Filter,
    nodes: Sequence[Node],
    with_keys: bool,
    delimiter: str,
    server: Server,
) -> tuple[bytes, Sequence[Node]]:
    """Return the file, and whom it is about."""
    if form is FleetFormat.CSV:
        identities = inventory.identities(wanted) if with_keys else None
        return tables.write(nodes, inventory.more_columns, identities, delimiter), nodes
    if form in (FleetFormat.GIS_CSV, FleetFormat.GEOJSON):
        nodes = gis.located(nodes)
        return (gis.as_csv if form is FleetFormat.GIS_CSV else gis.as_geojson)(nodes), nodes
    identities = inventory.identities(wanted)
    devices = {each.number: device(identities[each.node_id]) for each in nodes}
    able = [each for each in nodes if devices[each.number] is not None]
    if not able:
        raise CitynodeError(
            "none of the nodes has a LoRaWAN identity", "see 'citynode fleet show NODE'"
        )
    found = [each for each in devices.values() if each is not None]
    return render(Format(form.value), found, server), able


def labels(
    node: parts.Names = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", show_default=False, help="Name on the box of labels, as L7651."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The PDF.")] = Path(
        "citynode-labels.pdf"
    ),
    formats_: Annotated[bool, typer.Option("--formats", help="List the known formats.")] = False,
    batch: parts.Batch = None,
    site: parts.Site = None,
    stage: parts.StageIs = None,
    status: parts.StatusIs = None,
    where: parts.Where = None,
    skip: Annotated[int, typer.Option(min=0, help="Labels that the first sheet lacks.")] = 0,
    offset: Annotated[
        str, typer.Option(metavar="X,Y", help="Millimetres that your printer is off.")
    ] = "0,0",
    profile_id: Annotated[
        str,
        typer.Option(metavar="HEX", help="VendorID and VendorProfileID of the LoRa Alliance."),
    ] = tr005.NO_PROFILE,
    serial: Annotated[bool, typer.Option("--serial", help="Node id as the serial number.")] = False,
    checksum: Annotated[bool, typer.Option("--checksum", help="With TR005's checksum.")] = False,
    frame: Annotated[bool, typer.Option("--frame", help="Draw the edges, to try a sheet.")] = False,
    font: Annotated[
        Path | None,
        typer.Option(show_default=False, help="TrueType file for what is not Latin-1."),
    ] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Record nothing.")] = False,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Print labels to a PDF: LoRaWAN QR code (TR005), node id, DevEUI, site; never a key.

    A node without LoRaWAN has its id in the code, and its MAC beneath. The stage 'label' is
    recorded, so that '--stage label=missing' prints what is new.
    """
    if formats_:
        _list_formats(as_json)
        return
    chosen = formats.find(form) if form is not None else None
    if chosen is None:
        what = f"no labels are named {form!r}" if form is not None else "no labels were named"
        raise CitynodeError(what, "see 'citynode fleet labels --formats'")
    options, shift = _options(profile_id, checksum), _offset(offset)
    if skip >= chosen.per_page:
        raise CitynodeError(f"a sheet has {chosen.per_page} labels", "give --skip less")
    from citynode.fleet.labels import Print, label_of, render  # fonts and PDF take a while to load

    wanted = parts.wanted(node, batch, site, stage, status, where)
    with parts.open_fleet(fleet) as inventory:
        nodes = _in_service(inventory.chosen(wanted), wanted)
        made = [label_of(each, options, serial=serial) for each in nodes]
        parts.write(output, render(made, chosen, Print(skip, shift, frame, font)))
        if not draft:
            inventory.stages(nodes, Stage.LABEL, Result.PASS, chosen.name)
    sheets = -(-(skip + len(nodes)) // chosen.per_page)
    if as_json:
        told = {"file": str(output), "format": chosen.name, "labels": len(nodes), "sheets": sheets}
        print(json.dumps(told))
    else:
        print(
            f"{output}: {len(nodes)} label{'s' * (len(nodes) != 1)} on {sheets} "
            f"sheet{'s' * (sheets != 1)} of {chosen.maker} {chosen.name}; print it at 100 %"
        )


def _options(profile_id: str, checksum: bool) -> tr005.Options:
    try:
        return tr005.Options(profile_id.upper(), checksum)
    except ValueError as error:
        raise CitynodeError(f"--profile-id: {error}", "the LoRa Alliance gives them out") from None


def _offset(text: str) -> tuple[float, float]:
    try:
        x, y = (float(each) for each in text.split(","))
        if not (abs(x) <= 50 and abs(y) <= 50):
            raise ValueError
    except ValueError:
        raise CitynodeError(f"--offset {text} is not X,Y", "give millimetres, as 0.5,-1") from None
    return x, y


def _list_formats(as_json: bool) -> None:
    rows = [
        (each.name, each.maker, f"{each.size[0]:g} x {each.size[1]:g} mm", str(each.per_page))
        for each in formats.FORMATS.values()
    ]
    if as_json:
        for name, maker, size, count in rows:
            told = {"name": name, "maker": maker, "size": size, "per_page": int(count)}
            print(json.dumps(told))
    else:
        parts.table(("name", "maker", "label", "on a page"), rows)
