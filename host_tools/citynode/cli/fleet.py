"""`citynode fleet`: the inventory of nodes, from a box of boards to what a network server wants."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from citynode.cli import fleet_files as files
from citynode.cli import fleet_parts as parts
from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Node, Stage, Status
from citynode.fleet.query import Filter

_ROWS = 100

KeyPlace = Annotated[
    Place | None,
    typer.Option(
        "--key",
        show_default=False,
        help="Where the key goes: the OS keyring, a file (CITYNODE_KEY_FILE, else in citynode's "
        "own folder), or env: it is in CITYNODE_KEY already. Else the first there is.",
    ),
]
NewKeyPlace = Annotated[
    Place | None,
    typer.Option(
        "--key",
        show_default=False,
        help="Where the new key goes: the OS keyring, a file in citynode's own folder, or env: "
        "it is in CITYNODE_NEW_KEY already. Else the first there is.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb with its sub-commands."""
    fleet = typer.Typer(
        help="The inventory: nodes, keys (encrypted), batches, stages, sites, labels.",
        no_args_is_help=True,
    )
    fleet.command("init")(init)
    fleet.command("list")(list_nodes)
    fleet.command("show")(show)
    fleet.command("import")(files.import_nodes)
    fleet.command("export")(files.export_nodes)
    fleet.command("labels")(files.labels)
    fleet.command("retire")(retire)
    fleet.command("rekey")(rekey)
    fleet.command("new-key")(new_key)
    fleet.command("audit")(audit)
    fleet.command("backup")(backup)
    app.add_typer(fleet, name="fleet")


def init(
    fleet: parts.FleetFile = None, key: KeyPlace = None, as_json: parts.AsJson = False
) -> None:
    """Make an empty fleet and the key that its secrets are encrypted with."""
    path = parts.path_of(fleet)
    where = Fleet.init(path, key)
    if as_json:
        print(json.dumps({"fleet": str(path), "key": where}))
        return
    print(f"{path}: an empty fleet; its key is in {where}")
    print("Keep a copy of the key apart from the fleet: without it nobody can read the secrets.")


def list_nodes(
    node: parts.Names = None,
    batch: parts.Batch = None,
    site: parts.Site = None,
    stage: parts.StageIs = None,
    status: parts.StatusIs = None,
    where: parts.Where = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, show_default=False, help="Rows; 0 for all. A table has 100 else."),
    ] = None,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """List nodes; with --json one line each, and all of them."""
    wanted = parts.wanted(node, batch, site, stage, status, where)
    most = (None if as_json else _ROWS) if limit is None else (limit or None)
    with parts.open_fleet(fleet) as inventory:
        nodes = inventory.nodes(wanted, most)
        count = len(nodes) if most is None or len(nodes) < most else inventory.count(wanted)
    if as_json:
        for each in nodes:
            print(json.dumps(each.to_json(), ensure_ascii=False))
        return
    parts.table(
        ("node", "site", "batch", "status", "DevEUI", "MAC", "stages"),
        [
            (
                each.node_id,
                each.entry.site or "",
                each.entry.batch or "",
                each.status,
                each.entry.dev_eui or "",
                each.entry.mac or "",
                parts.stages_of(each),
            )
            for each in nodes
        ],
    )
    more = f", {len(nodes)} shown (--limit 0 for all)" if len(nodes) < count else ""
    print(f"{count} node{'s' * (count != 1)}{more}")


def show(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Node id, MAC or DevEUI.")],
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Show all that is known of a node; of its keys, that it has some."""
    with parts.open_fleet(fleet) as inventory:
        found = inventory.chosen(Filter((node,)))
        if len(found) > 1:
            raise CitynodeError(f"{node} is {len(found)} nodes", "see 'citynode fleet list'")
        measured = inventory.measurements(found[0])
    if as_json:
        told = found[0].to_json() | {"self_test": [asdict(each) for each in measured]}
        print(json.dumps(told, ensure_ascii=False))
        return
    _show(found[0])
    for each in measured:
        limits = f"{_number(each.low)} to {_number(each.high)}"
        value = f"{_number(each.value)} {each.unit or ''}".strip()
        print(f"{'self-test':<12} {each.item} {each.outcome}: {value} (limits {limits})")


def _show(node: Node) -> None:
    known = node.to_json()
    for stage in Stage:
        step = node.stages.get(stage)
        detail = f": {step.detail}" if step is not None and step.detail else ""
        known[stage.value] = f"{step.outcome} {step.at}{detail}" if step is not None else "not yet"
    for left_out in ("stages", "extra", "has_keys"):
        del known[left_out]
    known |= node.entry.extra
    known["keys"] = "encrypted in the fleet" if node.has_secrets else "none"
    for key, value in known.items():
        if value is not None:
            print(f"{parts.shown(key):<12} {parts.shown(str(value))}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def retire(
    node: parts.Names = None,
    batch: parts.Batch = None,
    site: parts.Site = None,
    stage: parts.StageIs = None,
    status: parts.StatusIs = None,
    where: parts.Where = None,
    reason: Annotated[
        str | None, typer.Option(show_default=False, help="Why, for the audit trail.")
    ] = None,
    forget_keys: Annotated[
        bool, typer.Option("--forget-keys", help="Destroy their keys; there is no way back.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take them into service again.")] = False,
    yes: parts.Yes = False,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Take nodes out of service: no export, no label, no flashing; nobody gets their identity."""
    with parts.open_fleet(fleet) as inventory:
        nodes = _meant(inventory, parts.wanted(node, batch, site, stage, status, where))
        count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
        if undo:
            nodes = [each for each in nodes if each.status == Status.RETIRED]
            inventory.restore(nodes)
        else:
            if forget_keys or len(nodes) > 1:
                keys = " and destroy the keys" if forget_keys else ""
                parts.confirm(f"Retire {count}{keys}?", yes)
            if not forget_keys:
                nodes = [each for each in nodes if each.status != Status.RETIRED]
            inventory.retire(nodes, reason, forget=forget_keys)
    _report(nodes, "in service again" if undo else "retired", as_json)


def rekey(
    node: parts.Names = None,
    batch: parts.Batch = None,
    site: parts.Site = None,
    stage: parts.StageIs = None,
    status: parts.StatusIs = None,
    where: parts.Where = None,
    yes: parts.Yes = False,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Give nodes new AppKeys. The old ones are gone: provision the boards, import at the server.

    The key that the fleet itself is encrypted with is changed by 'citynode fleet new-key'.
    """
    with parts.open_fleet(fleet) as inventory:
        nodes = _meant(inventory, parts.wanted(node, batch, site, stage, status, where))
        for each in nodes:
            if each.entry.dev_eui is None or each.status == Status.RETIRED:
                why = "is retired" if each.entry.dev_eui is not None else "has no LoRaWAN identity"
                raise CitynodeError(f"{each.node_id} {why}: no key was changed", "leave it out")
        count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
        parts.confirm(f"Give {count} new AppKeys, and destroy the old ones?", yes)
        inventory.rekey(nodes)
    _report(nodes, "rekeyed: run 'citynode provision' on the board", as_json)


def _meant(inventory: Fleet, wanted: Filter) -> list[Node]:
    if wanted.is_empty:
        raise CitynodeError("no node was named", "name nodes, or give --batch, --site or --where")
    return inventory.chosen(wanted)


def _report(nodes: list[Node], what: str, as_json: bool) -> None:
    for each in nodes:
        if as_json:
            print(json.dumps({"node_id": each.node_id, "done": what.partition(":")[0]}))
        else:
            print(f"{each.node_id}: {what}")
    if not nodes and not as_json:
        print("nothing to do")


def new_key(
    key: NewKeyPlace = None, fleet: parts.FleetFile = None, as_json: parts.AsJson = False
) -> None:
    """Encrypt all secrets of the fleet with a new key; for old backups the old key stays."""
    with parts.open_fleet(fleet) as inventory:
        old = inventory.key_id
        where = inventory.new_key(key)
        new = inventory.key_id
    if as_json:
        print(json.dumps({"old": old, "new": new, "key": where}))
    else:
        print(f"the fleet's key is {new} now, in {where}; backups from before need {old}")


def audit(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", show_default=False, help="Node id; else all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Lines; 0 for all.")] = _ROWS,
    fleet: parts.FleetFile = None,
    as_json: parts.AsJson = False,
) -> None:
    """Tell who did what when, the newest first; nobody can change it."""
    with parts.open_fleet(fleet) as inventory:
        lines = inventory.audit(node, limit or None)
    if as_json:
        for line in lines:
            print(json.dumps(line, ensure_ascii=False))
        return
    keys = ("at", "who", "action", "node", "detail")
    parts.table(keys, [tuple(str(line[key] or "") for key in keys) for line in lines])


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; not there yet.")],
    fleet: parts.FleetFile = None,
) -> None:
    """Copy the fleet as it is now to one file, also while others write to it; without the key."""
    with parts.open_fleet(fleet) as inventory:
        inventory.backup(target)
        print(f"{target}: a copy; to read its secrets takes the key {inventory.key_id}")
