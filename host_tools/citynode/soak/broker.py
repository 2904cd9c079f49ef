"""A broker of our own for the bench: amqtt, in a thread."""

import asyncio
import contextlib
import logging
import threading
from types import TracebackType
from typing import Any, Self

from amqtt.broker import Broker

from citynode.errors import CitynodeError

_START_S = 10.0
_TURNS = 10  # of the loop, in which connections that were closed let go of their sockets

# It tells of every client that comes and goes.
logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)
logging.getLogger("transitions").setLevel(logging.CRITICAL + 1)


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, coroutine: Any, timeout_s: float) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            self.do(self._cancel_all(), _START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # amqtt leaves tasks behind
        self._loop.run_forever()


class BenchBroker:
    """A broker on a free port of the loopback, while it is open; anyone may use it."""

    def __init__(self) -> None:
        self._loop = _Loop("citynode broker")
        self._broker: Any = None
        self.port = 0

    def __enter__(self) -> Self:
        try:
            self.port = self._loop.do(self._start(), _START_S)
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
            self._loop.do(self._broker.shutdown(), _START_S)
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
