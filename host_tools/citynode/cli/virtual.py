"""`citynode virtual`: virtual boards on this machine."""

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from citynode.cli.virtual_image import image_command
from citynode.cli.virtual_network import host_and_port, network_command
from citynode.errors import CitynodeError
from citynode.profiles import load_profile
from citynode.soak.broker import BenchBroker
from citynode.virtual.air import Gateway
from citynode.virtual.air.forwarder import Forwarder
from citynode.virtual.rack import Rack
from citynode.virtual.soc.board import Board
from citynode.virtual.world.chance import fresh_seed
from citynode.virtual.world.weather import Weather
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID

# Given out by nobody: the bit for local administration is set.
_GATEWAY_EUI = "020000fffe000001"


def register(app: typer.Typer) -> None:
    """Add the verb with its sub-commands."""
    virtual = typer.Typer(
        help="Virtual boards: real MicroPython behind a real bootloader, no hardware.",
        no_args_is_help=True,
    )
    virtual.command("up")(up)
    virtual.command("image")(image_command)
    virtual.command("network")(network_command)
    app.add_typer(virtual, name="virtual")


def up(
    board: Annotated[list[str], typer.Option(help="Board id (see `citynode boards`); repeatable.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many of each.")] = 1,
    base_port: Annotated[
        int, typer.Option(min=0, max=65535, help="First TCP port; 0 takes free ones.")
    ] = 0,
    pty: Annotated[
        bool, typer.Option("--pty", help="Add a pseudo-terminal to each board.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Decides MACs and all chance; drawn if not given.")
    ] = None,
    weather: Annotated[
        Path | None, typer.Option(help="CSV of the weather that the sensors are in.")
    ] = None,
    pace: Annotated[
        bool, typer.Option("--pace", help="Take the time that a real port and flash take.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="Folder that keeps the flash; temporary if not given.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=HOST:PORT", help="Name that the boards can connect to."),
    ] = None,
    broker: Annotated[
        bool,
        typer.Option("--broker", help="Start an MQTT broker too; boards find it as broker.bench."),
    ] = False,
    wifi: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SSID:PASSWORD|@FILE",
            help="One more access point; a file or CITYNODE_VIRTUAL_WIFI (one per line) keeps "
            "the password off the list of processes.",
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="MicroPython image that new boards start with.")
    ] = None,
    sensors: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            show_default=False,
            help="Connect the sensors of this profile; else a BME280 (0x76) and an SHT4x (0x44).",
        ),
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            show_default=False,
            help="Put a LoRa gateway into the air that forwards there (Semtech UDP); boards "
            "reach only the bench's own WiFi, broker and time server then.",
        ),
    ] = None,
    gateway_eui: Annotated[
        str, typer.Option(metavar="EUI", help="That gateway's EUI.")
    ] = _GATEWAY_EUI,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line per board when it is ready.")
    ] = False,
) -> None:
    """Switch virtual boards on and keep them running until Ctrl-C."""
    gateway = None if forward is None else (host_and_port(forward, "--forward"), _eui(gateway_eui))
    services = dict(_network(text) for text in network or ())
    with contextlib.ExitStack() as stack:
        if broker:
            services["broker.bench"] = ("127.0.0.1", stack.enter_context(BenchBroker()).port)
        rack = Rack(
            board,
            count,
            base_port=base_port,
            pty=pty,
            seed=fresh_seed() if seed is None else seed,
            weather=None if weather is None else Weather.from_csv(weather),
            pace=pace,
            state_dir=state,
            networks=services,
            wifi=dict(pair for text in _wifi_texts(wifi) for pair in _access_points(text)),
            image=image,
            profile=None if sensors is None else load_profile(sensors),
            follow=forward is not None,  # receive windows have to be met on a busy machine too
        )
        _run(rack, board[0], services, gateway, as_json)


def _run(
    rack: Rack,
    kind: str,
    services: Mapping[str, tuple[str, int]],
    gateway: tuple[tuple[str, int], bytes] | None,
    as_json: bool,
) -> None:
    # From the first socket on, both ways to end this go through the engine: a clean stop.
    ends = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: rack.engine.stop()) for number in ends]
    forwarder = None
    try:
        rack.open()
        if gateway is not None:
            forwarder = Forwarder(rack.engine, Gateway(rack.air), *gateway)
            forwarder.open()
        if as_json:
            for each in rack.boards:
                print(json.dumps(_facts(each)), flush=True)
        else:
            _print_table(rack, kind, services, gateway)
        rack.engine.run()
    finally:
        if forwarder is not None:
            forwarder.close()
        rack.close()
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)


def _facts(board: Board) -> dict[str, str | None]:
    return {
        "id": board.id,
        "mac": board.mac.hex(":"),
        "chip": board.chip.id,
        "rfc2217": board.rfc2217_url,
        "pty": None if board.pty_path is None else str(board.pty_path),
        "flash": str(board.flash_path),
    }


def _print_table(
    rack: Rack,
    kind: str,
    services: Mapping[str, tuple[str, int]],
    gateway: tuple[tuple[str, int], bytes] | None,
) -> None:
    console = Console()
    table = Table("board", "MAC", "port")
    for board in rack.boards:
        ports = "\n".join(str(port) for port in (board.rfc2217_url, board.pty_path) if port)
        table.add_row(board.id, board.mac.hex(":"), ports)
    # Wider than the terminal rather than cut: these are to be copied.
    Console(width=500).print(table)

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(f"Flash is in {rack.boards[0].flash_path.parent.parent}/*/flash.bin")
    say(f"WiFi {BENCH_SSID}, password {BENCH_PASSWORD}; time server ntp.bench")
    for name, (host, port) in services.items():
        say(f"{name} is {host}:{port}")
    if gateway is not None:
        (host, port), eui = gateway
        say(f"LoRa gateway {eui.hex()} forwards to {host}:{port}")
    url = rack.boards[0].rfc2217_url
    say("Try, in another terminal:")
    for line in (
        f"esptool --port {url} flash-id",
        f"citynode virtual image --board {kind} -o standin.bin",
        f"export CITYNODE_WIFI_SSID={BENCH_SSID} CITYNODE_WIFI_PSK={BENCH_PASSWORD}",
        f"citynode flash --board {kind} --image standin.bin -p {url}",
        f"citynode monitor -p {url}",
        f"mpremote connect {url} exec 'print(1 + 1)'",
    ):
        say(f"  {line}")
    say("Ctrl-C switches the boards off.")


def _eui(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise CitynodeError("--gateway-eui is no EUI", "write 16 hex digits")
    return raw


def _network(text: str) -> tuple[str, tuple[str, int]]:
    name, equals, address = text.partition("=")
    host, colon, port = address.rpartition(":")
    if not (name and equals and host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise CitynodeError(
            f"--network {text!r} is not NAME=HOST:PORT", "write broker.bench=127.0.0.1:1883"
        )
    return name, (host, int(port))


def _wifi_texts(given: list[str] | None) -> list[str]:
    return [*(given or ()), *os.environ.get("CITYNODE_VIRTUAL_WIFI", "").splitlines()]


def _access_points(text: str) -> list[tuple[str, str]]:
    if text.startswith("@"):
        try:
            lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise CitynodeError(
                f"cannot read {text[1:]}: {os.strerror(error.errno or 0)}",
                "give --wifi the name of a readable file after the @",
            ) from error
        return [pair for line in lines if line for pair in _access_points(line)]
    ssid, colon, password = text.partition(":")
    if not (ssid and colon):
        # The text may hold a password: it is not repeated.
        raise CitynodeError(
            "--wifi is not SSID:PASSWORD", "an open network is SSID: with nothing behind"
        )
    return [(ssid, password)]
