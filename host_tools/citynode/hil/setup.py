"""What a bench has besides its boards, as a TOML file: its networks, its broker, its secrets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from citynode.bench.power import Command
from citynode.tomlfile import Table


class Cut(Table):
    """A network of the bench; `cut` and `restore` are commands that end with 0."""

    cut: Annotated[str, Field(min_length=1)] | None = None
    restore: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cut is None) != (self.restore is None):
            raise ValueError("give cut and restore, or neither")
        return self

    @property
    def switch(self) -> Command | None:
        """What cuts it."""
        if self.cut is None or self.restore is None:
            return None
        return Command(kind="command", off=self.cut, on=self.restore)


class Broker(Cut):
    """The MQTT broker that the nodes send to and the tests listen to.

    `node_host` is its name for the nodes if that is another; `ca` a certificate's file, for TLS.
    """

    host: Annotated[str, Field(min_length=1, max_length=128)]
    node_host: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    ca: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _path(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("ca"), str):
            return {**data, "ca": Path(data["ca"])}
        return data


class Setup(Table):
    """What a bench has besides its boards.

    `identity` is a file of secrets (WiFi, MQTT) as for `citynode flash --identity`, `images` a
    MicroPython image for a chip instead of the newest in the cache.
    """

    identity: str | None = None
    ntp: str = "pool.ntp.org"
    images: Mapping[str, str] = {}
    wifi: Cut = Cut()
    broker: Broker | None = None
    lorawan: Cut | None = None
