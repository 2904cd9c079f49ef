"""`citynode demo`: blank virtual boards become reporting nodes, with the real tools at work."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from citynode.bench import job
from citynode.bench.contents import Order
from citynode.bench.flash import Kit, Method, flash, prepare
from citynode.bench.outcome import Verdict
from citynode.boards import load_board
from citynode.cli import parts
from citynode.cli.ctrlc import CtrlC
from citynode.cli.soak import finish, seconds, watch
from citynode.frames import FIELDS, Record
from citynode.identity import Store
from citynode.profiles import load_profile
from citynode.soak.account import Account
from citynode.soak.broker import BenchBroker
from citynode.soak.listener import Address
from citynode.soak.verdict import Plan
from citynode.soak.watch import Watcher
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.air.network.mqtt import Publisher
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.weather import Conditions
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID
from citynode.wire.schema import CLIMATE

_WIFI_BOARDS, _WIFI_PROFILE = ("esp32-devkit", "xiao-esp32c3"), "climate-demo"
_LORA_BOARD, _LORA_PROFILE = "lilygo-t3-s3", "climate-lora-demo"
_MIB = 1 << 20
# The BME280's own accuracy (datasheet, tables 2 to 4): what a sensor may be off by.
_ACCURACY = {"temperature_c": 1.0, "humidity_pct": 3.0, "pressure_pa": 100.0}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    duration: Annotated[str, typer.Option(help="How long the nodes are watched.")] = "60s",
    seed: Annotated[int, typer.Option(help="Decides the weather and the boards' MACs.")] = 1,
) -> None:
    """Flash three blank virtual boards, let them report, and compare with the weather.

    Two send over WiFi to an MQTT broker, one over LoRaWAN: by a virtual gateway and a bench network
    server, which publishes on the same broker.
    """
    plan = Plan(seconds(duration, "--duration"), silence_s=60, started=True)
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(f"[bold]{text}[/]", highlight=False)

    with CtrlC() as ctrl_c, contextlib.ExitStack() as stack:
        with ctrl_c.held():
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="citynode-demo-")))
            stack.enter_context(_state_in(home / "state"))
        say("Compiling the application, building MicroPython stand-ins for three chips")
        kits = {name: _kit(name, _WIFI_PROFILE) for name in _WIFI_BOARDS}
        kits[_LORA_BOARD] = _kit(_LORA_BOARD, _LORA_PROFILE)
        say("Starting the MQTT broker and three blank virtual boards")
        with ctrl_c.held():
            broker = stack.enter_context(BenchBroker())
            service = {"broker.bench": ("127.0.0.1", broker.port)}
            rack = stack.enter_context(
                Rack(_WIFI_BOARDS, seed=seed, networks=service, state_dir=home / "wifi")
            )
            # Receive windows have to be met on a busy machine too.
            mast = stack.enter_context(
                Rack(_LORA_BOARD, seed=seed, follow=True, state_dir=home / "lora")
            )
        urls = {}
        for each in (rack, mast):
            for board in each.boards:
                urls[board.rfc2217_url] = kits[board.id.rpartition("-")[0]]
        say("Flashing: MicroPython, application and identity, one esptool session for each board")
        names = _flash(urls)
        say("Starting a LoRaWAN gateway and its network server")
        with ctrl_c.held():
            stack.enter_context(_lorawan(mast, broker.port))
        say(f"The nodes report; watching ports and broker for {plan.duration_s:.0f} s")
        with contextlib.ExitStack() as watching:
            with ctrl_c.held():
                watcher = watching.enter_context(
                    Watcher(list(urls), Address("127.0.0.1", broker.port), names=names)
                )
            watch(watcher, plan)
            rows = watcher.results(plan)
        weather = rack.world.weather
        close = _compare(
            [
                (account, weather.at(account.last.t))
                for account, _ in rows
                if account.last is not None and account.last.t is not None
            ]
        )
        finish(rows)
        if not close or len(close) < len(rows) or not all(close):
            say("[red]A node's values are not the weather's[/]")
            raise typer.Exit(1)
    say("[green]Three nodes, no record lost. Everything was stopped again.[/]")


def _kit(name: str, profile: str) -> Kit:
    board = load_board(name)
    # The makers' builds are for 4 MiB, whatever the board has.
    image = standin.build(CHIPS[board.chip], flash_size=min(board.flash_mib, 4) * _MIB)
    given = {"wifi_ssid": BENCH_SSID, "wifi_psk": BENCH_PASSWORD}
    return prepare(Order(board, load_profile(profile), given), image)


@contextlib.contextmanager
def _lorawan(rack: Rack, broker_port: int) -> Iterator[None]:
    """Give the rack's air a gateway, and a network that knows the nodes; it tells the broker."""
    network = rack.call(lambda: Network(rack.engine))
    publisher = Publisher(rack.engine, network, "127.0.0.1", broker_port)

    def open_network() -> None:
        network.attach(Gateway(rack.air))
        for node in Store().all().values():
            if node.dev_eui and node.join_eui and node.app_key:
                network.register(node.dev_eui, node.join_eui, node.app_key, name=node.node_id)

    publisher.open()
    try:
        rack.call(open_network)
        yield
    finally:
        publisher.close()


def _flash(urls: dict[str, Kit]) -> dict[str, str]:
    """Flash all boards and return their node ids by port; exits with 1 if one failed."""
    store = Store()
    try:
        with parts.Display(list(urls)) as display:
            outcomes = job.run(
                list(urls),
                lambda bench, outcome: flash(bench, outcome, urls[bench.port], store, Method()),
                watch=display,
            )
    except job.InterruptedJobError:
        raise KeyboardInterrupt from None  # no run after this one would go on where it was
    if any(outcome.verdict is not Verdict.PASS for outcome in outcomes):
        parts.finish(outcomes, as_json=False)
    return {outcome.port: outcome.node_id for outcome in outcomes if outcome.node_id}


def _compare(rows: list[tuple[Account, Conditions | None]]) -> list[bool]:
    """Print what was decoded beside what was true; return for each node whether it is close."""
    table = Table("node", "at (UTC)", title="decoded, and the true weather", title_justify="left")
    for field in FIELDS[CLIMATE]:
        if field.name in _ACCURACY:
            table.add_column(f"{field.label} {field.unit}", justify="right")
    close = []
    for account, truth in rows:
        if account.last is None or truth is None:
            close.append(False)
            continue
        cells, good = _cells(account.last, truth)
        close.append(good)
        table.add_row(account.node_id or "?", account.last.when[11:19], *cells)
    Console().print(table)
    return close


def _cells(record: Record, truth: Conditions) -> tuple[list[str], bool]:
    cells, good = [], True
    for field in FIELDS[CLIMATE]:
        if field.name not in _ACCURACY:
            continue
        value, true = record.values[field.name], getattr(truth, field.name)
        shown = field.text(value).removesuffix(f" {field.unit}")
        expected = field.text(float(true) if field.num > 1 else round(true)).removesuffix(
            f" {field.unit}"
        )
        cells.append(f"{shown} ({expected})")
        good &= isinstance(value, int | float) and abs(value - true) <= _ACCURACY[field.name]
    return cells, good


@contextlib.contextmanager
def _state_in(folder: Path) -> Iterator[None]:
    """Keep the demo's identities and locks out of the user's own."""
    before = os.environ.get("CITYNODE_STATE")
    os.environ["CITYNODE_STATE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CITYNODE_STATE"]
        else:
            os.environ["CITYNODE_STATE"] = before
