"""The world around the virtual boards: clock, chance, weather, WiFi and its servers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from citynode.virtual.world.climate import Climate, Surroundings
from citynode.virtual.world.clock import NS
from citynode.virtual.world.innernet import InnerNetwork
from citynode.virtual.world.network import NTP_PORT, Network
from citynode.virtual.world.ntp import NtpServer, TimeServer
from citynode.virtual.world.servers import Broker, serve_portal, serve_time
from citynode.virtual.world.street import Street
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

    `inner` puts the network into the engine, for virtual time: `inner` is the network then, with an
    MQTT broker (`broker`, named broker.bench) and a time server (`ntp`, ntp.bench and any other
    name on its port). The machine's hosts cannot be reached from there.
    """

    def __init__(
        self,
        engine: "Engine",
        weather: Weather | None = None,
        *,
        networks: Mapping[str, tuple[str, int]] | None = None,
        wifi: Mapping[str, str] | None = None,
        inner: bool = False,
    ) -> None:
        self.engine = engine
        self.weather = (weather or Weather.synthetic(engine.seed)).replayed(self.unix_s)
        self.climate = Climate(self.weather, engine.rng("climate"))
        self.streets: dict[str, Street] = {}  # the roads before boards that count traffic
        self.battery_v = 3.95  # a lithium cell, nearly full
        self.wifi = Wifi()
        self.wifi.add(BENCH_SSID, BENCH_PASSWORD)
        for ssid, password in (wifi or {}).items():
            self.wifi.add(ssid, password, channel=11, rssi=-64)
        self.inner: InnerNetwork | None = InnerNetwork(engine) if inner else None
        self.network = self.inner or Network()
        self._broker: Broker | None = None
        self._ntp_socket: NtpServer | None = None
        self.ntp: TimeServer
        if self.inner is not None:
            self._broker = Broker(self.inner)
            self.ntp = TimeServer()
            serve_time(self.inner, self.ntp)
            serve_portal(self.inner)
            self.network.serve_ntp(NTP_PORT)
        else:
            self.ntp = self._ntp_socket = NtpServer(engine)
            self.network.serve_ntp(self._ntp_socket.port)
        for name, (host, port) in (networks or {}).items():
            self.network.register(name, host, port)

    @property
    def broker(self) -> Broker:
        """The MQTT broker in the engine; raises RuntimeError where the network is not inside."""
        if self._broker is None:
            raise RuntimeError("there is a broker in the engine in virtual time only")
        return self._broker

    @property
    def unix_s(self) -> float:
        """The true time in seconds since 1970."""
        return self.engine.clock.unix_ns() / NS

    def conditions(self) -> Conditions | None:
        """Return the air as it is now, None where the weather is not known."""
        return self.weather.at(self.unix_s)

    def air(self, now_ns: int) -> Conditions | None:
        """Return the air at a time of the engine's clock (ns)."""
        return self.weather.at(self._unix_s(now_ns))

    def around(self, now_ns: int) -> Surroundings | None:
        """Return what is in the air and around it at a time of the engine's clock (ns)."""
        return self.climate.at(self._unix_s(now_ns))

    def rain_mm(self, start_ns: int, end_ns: int) -> float | None:
        """Return what rained between two times of the engine's clock (mm)."""
        return self.climate.rain_mm(self._unix_s(start_ns), self._unix_s(end_ns))

    def wind_ms(self, now_ns: int) -> tuple[float | None, int]:
        """Return the wind's speed (m/s) and until when it stays (ns of the engine's clock)."""
        now_s = self._unix_s(now_ns)
        speed, until_s = self.climate.wind_ms(now_s)
        return speed, now_ns + round((until_s - now_s) * NS)

    def wind_from_deg(self, now_ns: int) -> float | None:
        """Return where the wind comes from at a time of the engine's clock (°)."""
        return self.climate.wind_from_deg(self._unix_s(now_ns))

    def _unix_s(self, now_ns: int) -> float:
        clock = self.engine.clock
        return (clock.unix_ns() - clock.now_ns() + now_ns) / NS

    def close(self) -> None:
        """Release the servers' ports."""
        if self._ntp_socket is not None:
            self._ntp_socket.close()
