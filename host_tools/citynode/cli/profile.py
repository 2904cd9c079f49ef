"""`citynode profile`: which profiles there are, what they measure, and what they draw."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from citynode import energy
from citynode.boards import Board, board_ids, load_board
from citynode.errors import CitynodeError
from citynode.profiles import LorawanUplink, Profile, Sensor, check_fits, load_profile, profile_ids

AsJson = Annotated[bool, typer.Option("--json", help="Report as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the verb with its sub-commands."""
    profile = typer.Typer(
        help="Profiles: what a node measures and where it sends it. List, show, check.",
        invoke_without_command=True,
    )
    profile.callback()(list_profiles)
    profile.command("show")(show)
    profile.command("check")(check)
    app.add_typer(profile, name="profile")


def list_profiles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the profiles."""
    if context.invoked_subcommand is not None:
        return
    profiles = [load_profile(name) for name in profile_ids()]
    if as_json:
        for each in profiles:
            print(each.model_dump_json())
        return
    table = Table("id", "sends over", "each", "description")
    for each in profiles:
        table.add_row(each.id, each.uplink.kind, _seconds(each.interval_s), each.description)
    Console().print(table)


def show(
    profile: Annotated[str, typer.Argument(help="Profile id, or a TOML file.")],
    board: Annotated[
        str | None,
        typer.Option(show_default="the first that it fits", help="Board id, or a TOML file."),
    ] = None,
    battery: Annotated[
        float, typer.Option(min=1, metavar="MAH", help="Capacity of the cell (3.7 V).")
    ] = 3400,
    data_rate: Annotated[
        int,
        typer.Option(
            min=energy.DATA_RATES.start,
            max=energy.DATA_RATES.stop - 1,
            help="Of LoRaWAN: 5 is near a gateway, 0 far away.",
        ),
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Show what a profile measures, and how long a battery lasts.

    The currents are those of datasheets; a board's own regulator and LED come on top.
    """
    given = load_profile(profile)
    on = _board_for(given) if board is None else load_board(board)
    check_fits(on, given)
    parts = energy.parts(on, given, data_rate)
    total = energy.total_mah(parts)
    days = energy.life_days(total, battery)
    if as_json:
        told = {
            "profile": given.id,
            "board": on.id,
            "parts": [{"name": p.name, "mah_per_day": p.mah, "why": p.why} for p in parts],
            "mah_per_day": total,
            "battery_mah": battery,
            "battery_days": days,
        }
        print(json.dumps(told))
        return
    console = Console()
    console.print(f"{given.id}: {given.description}", highlight=False)
    console.print(_sensor_table(given))
    console.print(_energy_table(on, given, parts, total))
    console.print(f"A cell of {battery:g} mAh lasts {_days(days)}.", highlight=False)
    for part in parts:
        if part.mah is None:
            print(f"citynode: {part.name} is not in the sum: {part.why}", file=sys.stderr)


def check(
    profiles: Annotated[
        list[str] | None, typer.Argument(help="Profile ids or TOML files; else all.")
    ] = None,
    board: Annotated[
        str | None, typer.Option(help="Check that it fits this board, too.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check profiles: keys, drivers, places of sensors, intervals; 1 if one is wrong."""
    on = None if board is None else load_board(board)
    wrong = False
    for name in profiles or profile_ids():
        try:
            given = load_profile(name)
            if on is not None:
                check_fits(on, given)
        except CitynodeError as error:
            wrong = True
            if as_json:
                print(json.dumps({"profile": name, "ok": False, "error": str(error)}))
            print(f"citynode: {error}", file=sys.stderr)
            continue
        if as_json:
            print(json.dumps({"profile": given.id, "ok": True}))
        else:
            print(f"{given.id}: right" + ("" if on is None else f", and fits {on.id}"))
    if wrong:
        raise typer.Exit(1)


def _board_for(profile: Profile) -> Board:
    """Return the first board that has what the profile needs."""
    problem: CitynodeError | None = None
    for name in board_ids():
        board = load_board(name)
        try:
            check_fits(board, profile)
        except CitynodeError as error:
            problem = problem or error
        else:
            return board
    raise problem or CitynodeError("there are no board files", "give --board a TOML file")


def _sensor_table(profile: Profile) -> Table:
    table = Table("sensor", "on", "read each", "measures")
    for sensor in profile.sensors:
        each = _seconds(sensor.interval_s or profile.interval_s)
        table.add_row(sensor.chip, _place(sensor), each, ", ".join(sensor.driver.fields))
    if profile.traffic is not None:
        for way, number, address in profile.traffic.places():
            on = {"i2c": f"I2C {number} 0x{address:02x}", "uart": f"serial port {number}"}
            place = on.get(way, f"terminal {number}")
            table.add_row(profile.traffic.sensor, place, "all the time", "vehicles")
    return table


def _place(sensor: Sensor) -> str:
    if sensor.address is not None:
        return f"I2C{'' if sensor.bus == 1 else ' 2'} 0x{sensor.address:02x}"
    if sensor.uart is not None:
        return f"serial port {sensor.uart}"
    return f"terminal {sensor.pin}"


def _energy_table(board: Board, profile: Profile, parts: list[energy.Part], total: float) -> Table:
    table = Table("part", title=f"a day on {board.id}", title_justify="left")
    table.add_column("mAh", justify="right")
    table.add_column("because")
    for part in parts:
        table.add_row(part.name, "?" if part.mah is None else f"{part.mah:.2f}", part.why)
    table.add_section()
    note = ""
    if isinstance(profile.uplink, LorawanUplink):
        note = f"at most {profile.uplink.airtime_s_per_day} s on air"
    table.add_row("together", f"{total:.2f}", note)
    return table


def _seconds(seconds: int) -> str:
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def _days(days: float) -> str:
    if days >= 730:
        return f"{days / 365:.1f} years"
    return f"{days:.0f} days" if days >= 3 else f"{24 * days:.0f} hours"
