"""`citynode virtual network`: the bench network server behind gateways that forward to it."""

import contextlib
import io
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from citynode.cli import decode_phy
from citynode.errors import CitynodeError
from citynode.fleet import export
from citynode.frames import Record, decode
from citynode.identity import Store, settings
from citynode.phy.keys import KeyRing
from citynode.phy.message import PhyError
from citynode.phy.reader import Reader
from citynode.virtual.air.network import Event, Network
from citynode.virtual.air.network.mqtt import Publisher
from citynode.virtual.air.network.roster import from_file, refuse_twins
from citynode.virtual.air.network.server import APPLICATION_ID
from citynode.virtual.air.network.udp import SemtechServer, UdpAntenna
from citynode.virtual.engine import Engine
from citynode.virtual.world.chance import fresh_seed
from citynode.wire.frame import FrameError

_APPLICATION_PORTS = range(1, 224)
# A node refuses a JoinNonce that is not above the last one, and nothing is kept from run to run.
_JOIN_NONCES_SINCE_S = 1_577_836_800  # 2020
_MINUTE_S = 60
_MASK_24 = 0xFFFFFF


def network_command(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="UDP port for gateways; 0 takes a free one.")
    ] = 1700,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets real gateways in.")
    ] = "127.0.0.1",
    devices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Import file of 'citynode export', any format; else the nodes provisioned here.",
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            show_default=False,
            help="Broker for ChirpStack's topics. Login: CITYNODE_MQTT_USER, …_PASS.",
        ),
    ] = None,
    application_id: Annotated[
        str, typer.Option(metavar="ID", help="Application in events and topics.")
    ] = APPLICATION_ID,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line per event, as ChirpStack v4 has them.")
    ] = False,
) -> None:
    """Run a LoRaWAN network server for the bench until Ctrl-C: joins, uplinks, downlinks.

    A test instrument: EU868, class A, all in memory. Gateways speak Semtech's UDP protocol to it,
    as `citynode virtual up --forward` does.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    roster = _roster(devices)
    refuse_twins(roster)
    engine = Engine(fresh_seed())
    unix_s = engine.clock.unix_ns() // 1_000_000_000
    network = Network(engine, join_nonce=(unix_s - _JOIN_NONCES_SINCE_S) // _MINUTE_S & _MASK_24)
    for each in roster:
        network.register(
            each.dev_eui,
            each.join_eui,
            each.app_key,
            name=each.node_id,
            application_id=application_id,
        )
    network.observe(_print_json if as_json else _print_text)
    network.on_stranger = _tell_stranger
    server = SemtechServer(engine, network, host, port)
    server.on_gateway = _tell_gateway
    ends = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: engine.stop()) for number in ends]
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(engine.close)
            server.open()
            stack.callback(server.close)
            if mqtt is not None:
                publisher = _publisher(engine, network, mqtt)
                publisher.open()
                stack.callback(publisher.close)
            known = f"{len(roster)} device{'s' * (len(roster) != 1)}"
            _say(f"listening on UDP {host}:{server.port}, {known}; Ctrl-C ends")
            engine.run()
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)


def _roster(path: Path | None) -> list[export.Device]:
    if path is not None:
        return from_file(path)
    found = [export.device(identity) for identity in Store().all().values()]
    known = [each for each in found if each is not None]
    if not known:
        raise CitynodeError(
            "no node has a LoRaWAN identity yet",
            "provision one that has a radio, or give --devices an import file",
        )
    return known


def _publisher(engine: Engine, network: Network, address: str) -> Publisher:
    host, port = host_and_port(address, "--mqtt")
    login = settings(None)
    user, password = login.get("mqtt_user"), login.get("mqtt_pass")
    return Publisher(
        engine,
        network,
        host,
        port,
        user=user if isinstance(user, str) else None,
        password=password if isinstance(password, str) else None,
        on_problem=_say,
    )


def host_and_port(address: str, option: str) -> tuple[str, int]:
    """Take HOST:PORT apart; raises CitynodeError that names the option."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise CitynodeError(f"{option} {address!r} is not HOST:PORT", "write 127.0.0.1:1883")
    return host.strip("[]"), int(port)


def _say(text: str) -> None:
    print(f"citynode: {_clean(text)}", file=sys.stderr, flush=True)


def _tell_gateway(antenna: UdpAntenna) -> None:
    _say(f"gateway {antenna.eui.hex()} is there")


def _tell_stranger(phy: bytes) -> None:
    try:
        first, *_ = decode_phy.lines(Reader(KeyRing()).read(phy))
    except PhyError as error:
        first = f"no LoRaWAN message: {error}"
    _say(f"of no device that is known: {first}")


def _print_json(event: Event) -> None:
    print(json.dumps({"event": event.kind, **event.body}), flush=True)


def _print_text(event: Event) -> None:
    clock = f"{datetime.now():%H:%M:%S}"
    print(f"{clock} {_clean(event.device.name)} {event.kind} {_words(event)}", flush=True)
    for line in _contents(event):
        print(f"    {line}", flush=True)


def _words(event: Event) -> str:
    body = event.body
    if event.kind == "join":
        return f"DevAddr {body['devAddr']}"
    if event.kind == "log":
        return f"{body['level']} {body['code']}: {body['description']}"
    if event.kind == "ack":
        return f"FCnt {body.get('fCntDown', 0)} {'yes' if body.get('acknowledged') else 'no'}"
    if event.kind == "status":
        level = body.get("batteryLevel")
        battery = "unknown" if level is None else f"{level} %"
        if body.get("externalPowerSource"):
            battery = "external"
        return f"battery {battery}, margin {body.get('margin', 0)} dB"
    if event.kind == "txack":
        return f"FCnt {body.get('fCntDown', 0)} by {body['gatewayId']}"
    uplink = event.device.uplinks[-1]
    best = uplink.copies[0]
    port = "no port" if uplink.f_port is None else f"FPort {uplink.f_port}"
    return (
        f"FCnt {uplink.f_cnt}, {port}, SF{best.sf}, {best.rssi_dbm:.0f} dBm, {best.snr_db:.1f} dB, "
        f"{len(uplink.copies)} gateway{'s' * (len(uplink.copies) != 1)}"
    )


def _contents(event: Event) -> list[str]:
    """Return what an uplink holds: MAC commands, and records or the payload as it is."""
    if event.kind != "up":
        return []
    uplink = event.device.uplinks[-1]
    lines = [str(command) for command in uplink.commands]
    if uplink.f_port not in _APPLICATION_PORTS or not uplink.payload:
        return lines
    try:
        records: list[Record] = decode(uplink.payload)
    except FrameError:
        return [*lines, f"payload {uplink.payload.hex()}"]
    return [*lines, *map(str, records)]


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
