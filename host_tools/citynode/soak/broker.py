"""Listening to the broker, and a broker of our own for the bench: both over amqtt, in threads."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from amqtt.broker import Broker
from amqtt.client import MQTTClient
from amqtt.mqtt.constants import QOS_1

from citynode.errors import CitynodeError

TOPIC = "citynode/+/up"
_CONNECT_S = 10.0
_POLL_S = 0.5
_RETRY_S = 2.0

# amqtt logs what it is connected with, which may hold a password.
logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)
logging.getLogger("transitions").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class Address:
    """Where a broker is, and what it asks for."""

    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None

    @property
    def url(self) -> str:
        """The address with its secrets, for the client only."""
        login = ""
        if self.user is not None:
            login = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@"
        return f"{'mqtts' if self.ca else 'mqtt'}://{login}{self.host}:{self.port}/"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, coroutine: Any, timeout_s: float) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def start(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            self.do(self._cancel_all(), _CONNECT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # amqtt leaves tasks behind
        self._loop.run_forever()


class Listener:
    """Calls `on_message(topic, payload)` for each record that arrives, from its own thread.

    The first connection has to work (CitynodeError); after that it is made again when it is lost.
    """

    def __init__(self, address: Address, on_message: Callable[[str, bytes], None]) -> None:
        self._address = address
        self._on_message = on_message
        self._loop = _Loop("citynode broker listener")
        self.losses = 0
        try:
            client = self._loop.do(self._connect(), _CONNECT_S + 1)
        except Exception:  # amqtt's have nothing in common, and may quote the password
            self._loop.close()
            raise CitynodeError(
                f"no connection to the broker at {address}",
                "check --broker, CITYNODE_MQTT_USER, CITYNODE_MQTT_PASS and --ca",
            ) from None
        self._loop.start(self._listen(client))

    def close(self) -> None:
        """Stop listening."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def _connect(self) -> MQTTClient:
        client = MQTTClient(config={"auto_reconnect": False, "reconnect_retries": 0})
        cafile = str(self._address.ca) if self._address.ca else None
        async with asyncio.timeout(_CONNECT_S):
            await client.connect(self._address.url, cleansession=True, cafile=cafile)
            await client.subscribe([(TOPIC, QOS_1)])
        return client

    async def _listen(self, client: MQTTClient | None) -> None:
        while True:
            try:
                client = client or await self._connect()
                message = await client.deliver_message(timeout_duration=_POLL_S)
                if message is not None:
                    self._on_message(message.topic, bytes(message.data))
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                if client is not None:
                    with contextlib.suppress(Exception):
                        async with asyncio.timeout(1):
                            await client.disconnect()
                raise
            except Exception:
                self.losses += 1
                client = None
                await asyncio.sleep(_RETRY_S)


class BenchBroker:
    """A broker on a free port of the loopback, while it is open; anyone may use it."""

    def __init__(self) -> None:
        self._loop = _Loop("citynode broker")
        self._broker: Any = None
        self.port = 0

    def __enter__(self) -> Self:
        try:
            self.port = self._loop.do(self._start(), _CONNECT_S)
        except Exception as error:
            self._loop.close()
            raise CitynodeError(
                f"the bench's broker does not start ({type(error).__name__})",
                "see 'citynode doctor'",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(Exception):
            self._loop.do(self._broker.shutdown(), _CONNECT_S)
        self._loop.close()

    async def _start(self) -> int:
        anyone = "amqtt.plugins.authentication.AnonymousAuthPlugin"
        self._broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}},
                "plugins": {anyone: {"allow_anonymous": True}},
            }
        )
        await self._broker.start()
        (server,) = self._broker._servers.values()
        port: int = server.instance.sockets[0].getsockname()[1]
        return port
