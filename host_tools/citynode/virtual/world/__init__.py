"""The world around the virtual boards: clock, chance, weather, WiFi and its servers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from citynode.virtual.world.clock import NS
from citynode.virtual.world.network import Network
from citynode.virtual.world.ntp import NtpServer
from citynode.virtual.world.weather import Conditions, Weather
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID, Wifi

if TYPE_CHECKING:
    # The engine takes its clock and chance from here.
    from citynode.virtual.engine import Engine


class World:
    """What the boards of one rack have in common.

    `weather` is made up from the engine's seed if None, and replayed from the world's date where
    a record does not cover it; `networks` maps names to the machine's (host, port); `wifi` adds
    access points (SSID to password) to the bench's own.
    """

    def __init__(
        self,
        engine: "Engine",
        weather: Weather | None = None,
        *,
        networks: Mapping[str, tuple[str, int]] | None = None,
        wifi: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self.weather = (weather or Weather.synthetic(engine.seed)).replayed(self.unix_s)
        self.battery_v = 3.95  # a lithium cell, nearly full
        self.wifi = Wifi()
        self.wifi.add(BENCH_SSID, BENCH_PASSWORD)
        for ssid, password in (wifi or {}).items():
            self.wifi.add(ssid, password, channel=11, rssi=-64)
        self.network = Network()
        for name, (host, port) in (networks or {}).items():
            self.network.register(name, host, port)
        self.ntp = NtpServer(engine)
        self.network.serve_ntp(self.ntp.port)

    @property
    def unix_s(self) -> float:
        """The true time in seconds since 1970."""
        return self.engine.clock.unix_ns() / NS

    def conditions(self) -> Conditions | None:
        """Return the air as it is now, None where the weather is not known."""
        return self.weather.at(self.unix_s)

    def air(self, now_ns: int) -> Conditions | None:
        """Return the air at a time of the engine's clock (ns)."""
        clock = self.engine.clock
        return self.weather.at((clock.unix_ns() - clock.now_ns() + now_ns) / NS)

    def close(self) -> None:
        """Release the servers' ports."""
        self.ntp.close()
