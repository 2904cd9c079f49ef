"""Listening to the broker that nodes send to: paho-mqtt, in a thread of its own."""

import contextlib
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from citynode.errors import CitynodeError
from citynode.soak.topics import NODES, SERVERS

_CONNECT_S = 10.0
_POLL_S = 0.2
_RETRY_S = 0.5
_KEEPALIVE_S = 15  # of silence, until the broker is asked whether it is there
_BAD_LOGIN = (0x86, 0x87)  # as paho tells CONNACK's 4 and 5, bad user name or not authorised

# Besides its codes, what paho lets through when it reads bytes that are no MQTT.
_GARBAGE = (OSError, ValueError, struct.error)

_LOGIN = "check --identity, or CITYNODE_MQTT_USER and CITYNODE_MQTT_PASS"
_REASONS = {
    "login": ("the broker at {} does not accept user and password", _LOGIN),
    "refused": ("the broker at {} refuses the connection", "see the broker's log"),
    "topic": (
        f"the broker at {{}} does not let this user read {NODES}",
        "allow it in the broker's access list, or use another user",
    ),
    "protocol": (
        "what answers at {} is no MQTT broker",
        "check --broker; a port that wants TLS needs --ca",
    ),
}


@dataclass(frozen=True)
class Address:
    """Where a broker is, and what it asks for."""

    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _RefusedError(Exception):
    """The broker does not want us, or is none; `kind` is one of `_REASONS`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Listener:
    """Calls `on_message(topic, payload)` for each record that arrives, from its own thread.

    The first connection has to work (CitynodeError); after that it is made again when it is lost,
    and `on_change` gets "gone" and "back". What is published in between is missed.
    """

    def __init__(
        self,
        address: Address,
        on_message: Callable[[str, bytes], None],
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._address = address
        self._on_message = on_message
        self._on_change = on_change
        self._stop = threading.Event()
        self._context = _tls(address)
        try:
            client = self._connect()
        except _RefusedError as error:
            what, cure = _REASONS[error.kind]
            raise CitynodeError(what.format(address), cure) from None
        except OSError as error:
            raise _unreachable(address, error) from None
        self._thread = threading.Thread(
            target=self._run, args=(client,), name="citynode broker", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self) -> Client:
        """Connect and subscribe; raises OSError, _RefusedError."""
        address = self._address
        client = Client(
            CallbackAPIVersion.VERSION2, f"citynode-{secrets.token_hex(6)}", protocol=MQTTv311
        )
        client.connect_timeout = _CONNECT_S
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if self._context is not None:
            client.tls_set_context(self._context)
        answers: list[str] = []  # what the broker said, the kind of a refusal or "ready"

        def on_connect(_: Client, __: Any, ___: Any, code: ReasonCode, *____: Any) -> None:
            if code.is_failure:
                answers.append("login" if code.value in _BAD_LOGIN else "refused")
            else:
                client.subscribe([(topic, 1) for topic in (NODES, *SERVERS)])

        def on_subscribe(_: Client, __: Any, ___: Any, codes: list[ReasonCode], *____: Any) -> None:
            # One who serves a network server's integration may be allowed that alone.
            answers.append("topic" if all(code.is_failure for code in codes) else "ready")

        def on_message(_: Client, __: Any, message: MQTTMessage) -> None:
            self._on_message(message.topic, bytes(message.payload))

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_message = on_message
        try:
            client.connect(address.host, address.port, _KEEPALIVE_S)
            end = time.monotonic() + _CONNECT_S
            while not answers:
                if not _turn(client) or time.monotonic() > end:
                    answers.append("protocol")
            if answers[0] != "ready":
                raise _RefusedError(answers[0])
        except BaseException:
            _leave(client)
            raise
        return client

    def _run(self, client: Client | None) -> None:
        while not self._stop.is_set():
            if client is None:
                try:
                    client = self._connect()
                except (OSError, _RefusedError):
                    self._stop.wait(_RETRY_S)
                    continue
                self._on_change("back")
            while not self._stop.is_set() and _turn(client):
                pass
            _leave(client)
            client = None
            if not self._stop.is_set():
                self._on_change("gone")


def _turn(client: Client) -> bool:
    """Do what is due on the connection for a moment; False when there is none any more."""
    try:
        return client.loop(_POLL_S) is MQTTErrorCode.MQTT_ERR_SUCCESS
    except _GARBAGE:
        return False


def _leave(client: Client) -> None:
    """Say goodbye and close the connection, in whatever state it is."""
    with contextlib.suppress(*_GARBAGE):
        client.disconnect()
        client.loop(_POLL_S)
    connection = client.socket()
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.close()


def _unreachable(address: Address, error: OSError) -> CitynodeError:
    """Return what it means for a person that a broker cannot be reached."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CitynodeError(
            f"the certificate of the broker at {address} is not accepted ({error.verify_message})",
            "give --ca the certificate that signed it, and --broker the name that is in it",
        )
    if isinstance(error, ssl.SSLError):
        return CitynodeError(
            f"the broker at {address} does not speak TLS", "leave out --ca, or give its TLS port"
        )
    if isinstance(error, socket.gaierror):
        return CitynodeError(
            f"the broker's name {address.host} has no address", "check --broker, and DNS"
        )
    if isinstance(error, TimeoutError):
        return CitynodeError(
            f"the broker at {address} does not answer",
            "check --broker, and what filters on the way",
        )
    return CitynodeError(
        f"no connection to the broker at {address} ({error.strerror or 'no reason given'})",
        "start the broker, or check --broker",
    )


def _tls(address: Address) -> ssl.SSLContext | None:
    if address.ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(address.ca))
    except OSError:
        raise CitynodeError(
            f"{address.ca} is no CA certificate", "give --ca a certificate as PEM"
        ) from None
