"""The configuration: `/config.cbor`, trusted no further than these checks.

Any bytes give a `Config`. A value that is missing or wrong is replaced by its default and named
in `faults`, as the path to it: "interval_s", "sensors[1].address".
"""

from node.core.log import LEVELS
from node.wire.cbor import CborError, decode

_MAX_SENSORS = 8
_MAX_CHIP = 16
_MAX_PIN = 48
_MAX_UARTS = 2
_MAX_OPTIONS = 8
_MOST = 1e9
_RADIOS = ("sx1276", "sx1262")
# How a traffic sensor is mounted: name, default, least and greatest (mm, but for lanes and park_s).
_GEOMETRY = (
    ("lane", 0, 0, 30000),
    ("lane_width", 3500, 2000, 6000),
    ("lanes", 1, 1, 4),
    ("spacing", 0, 0, 10000),
    ("far", 0, 0, 40000),
    ("park_s", 120, 10, 3600),
)
_RADIO_PINS = ("sck", "mosi", "miso", "cs", "reset")


class Sensor:
    """A sensor: its place in the configuration, chip, I2C address, settling (ms), retries.

    `bus` is 1 or 2; a sensor that is not on I2C has `uart` (1 or 2) or `pin` instead. `switch` is
    the pin of its supply. It is read each `interval_s`, with each record where that is 0.
    `options` go to its driver; `adjust` has (factor, offset) by field, `limits` what is plausible
    as (low, high).
    """

    def __init__(self, place: int, chip: str, address: int, settle_ms: int, retries: int) -> None:
        self.place = place
        self.chip = chip
        self.address = address
        self.settle_ms = settle_ms
        self.retries = retries
        self.bus = 1
        self.uart = 0
        self.pin: int | None = None
        self.switch: int | None = None
        self.interval_s = 0
        self.options: dict = {}
        self.adjust: dict = {}
        self.limits: dict = {}


class Radio:
    """The LoRa chip ("sx1276", "sx1262") and its pins; `busy` and `tcxo_mv` as its driver has them.

    `pins` are (sck, mosi, miso, cs, reset).
    """

    def __init__(self, chip: str, pins: tuple, busy, tcxo_mv: int, dio2_switch: bool) -> None:
        self.chip = chip
        self.pins = pins
        self.busy = busy
        self.tcxo_mv = tcxo_mv
        self.dio2_switch = dio2_switch


class Traffic:
    """The traffic sensor: its name, how it looks ("across", "along" or ""), ports and geometry.

    `ports` are (bus, I2C address), (serial port, 0) or (pin, 0), two of them for a pair; `geometry`
    is what `node.traffic.kinds` makes a detector of.
    """

    def __init__(self, sensor: str, mount: str, ports: tuple, geometry: dict) -> None:
        self.sensor = sensor
        self.mount = mount
        self.ports = ports
        self.geometry = geometry


class Lorawan:
    """How the node uses LoRaWAN; `radio` is None where the board has none, or not a whole one."""

    def __init__(self, radio) -> None:
        self.radio = radio
        self.airtime_s = 30
        self.confirmed_every = 8
        self.link_check = True
        self.adr = True
        self.clock_error_ppm = 10000
        self.antenna_gain_dbi = 2
        self.certification = False


class Config:
    """The checked configuration; `faults` names what was wrong with the given one.

    `i2c` and `i2c2` are (scl, sda, freq) or None, `uarts` pairs (rx, tx), `battery` and `solar`
    (pin, ratio, switch, level) or None, where the divider is switched by a pin that has that
    level then, or by none; `lorawan` is None where the uplink is WiFi, `traffic` where nothing is
    counted.
    """

    def __init__(self, given: object) -> None:
        self.faults: list = []
        if not isinstance(given, dict):
            given = {}
            self.faults.append("config")
        self._number(given, "", "v", 1, 1, 1)
        board = self._map(given, "board")
        self.board = self._text(board, "board.", "id", "unknown", 32)
        self.i2c = self._i2c(board, "i2c")
        self.i2c2 = self._i2c(board, "i2c2")
        self.uarts = self._uarts(board)
        self.led = self._pin(board, "board.", "led")
        self.battery = self._divider(board, "battery")
        self.solar = self._divider(board, "solar")
        self.site = self._text(given, "", "site", "", 64)
        self.interval_s = self._number(given, "", "interval_s", 300, 1, 86400)
        self.health_s = self._number(given, "", "health_s", 3600, 1, 604800)
        self.statistics = self._flag(given, "", "statistics", False)
        self.sensors = self._sensors(given)
        uplink = self._map(given, "uplink")
        kind = self._choice(uplink, "uplink.", "kind", "wifi", ("wifi", "lorawan"))
        self.lorawan = self._lorawan(uplink, board) if kind == "lorawan" else None
        if self.lorawan is None:
            self._wifi(given, uplink)
        self.deep_sleep = self._choice(given, "", "sleep", "none", ("none", "deep")) == "deep"
        self.traffic = self._traffic(given) if given.get("traffic") is not None else None
        if self.traffic is not None and self.deep_sleep:
            # Who sleeps does not see what passes.
            self.deep_sleep = self._fault("sleep", False)
        self.spool_bytes = 1024 * self._number(given, "", "spool_kib", 256, 8, 8192)
        self.log_level = LEVELS.index(self._choice(given, "", "log", "info", LEVELS))

    def _wifi(self, given: dict, uplink: dict) -> None:
        self.host = self._text(uplink, "uplink.", "host", "", 128)
        self.tls = self._flag(uplink, "uplink.", "tls", True)
        self.port = self._number(uplink, "uplink.", "port", 8883 if self.tls else 1883, 1, 65535)
        self.keepalive_s = self._number(uplink, "uplink.", "keepalive_s", 60, 5, 65535)
        self.ntp = self._text(given, "", "ntp", "pool.ntp.org", 128)

    def _lorawan(self, uplink: dict, board: dict) -> Lorawan:
        c = Lorawan(self._radio(board))
        path = "uplink."
        self._choice(uplink, path, "region", "EU868", ("EU868",))
        c.airtime_s = self._number(uplink, path, "airtime_s_per_day", c.airtime_s, 5, 864)
        c.confirmed_every = self._number(uplink, path, "confirmed_every", c.confirmed_every, 0, 64)
        c.link_check = self._flag(uplink, path, "link_check", c.link_check)
        c.adr = self._flag(uplink, path, "adr", c.adr)
        c.clock_error_ppm = self._number(
            uplink, path, "clock_error_ppm", c.clock_error_ppm, 0, 30000
        )
        c.antenna_gain_dbi = self._number(
            uplink, path, "antenna_gain_dbi", c.antenna_gain_dbi, -10, 16
        )
        c.certification = self._flag(uplink, path, "certification", c.certification)
        return c

    def _radio(self, board: dict):
        given = board.get("radio")
        path = "board.radio"
        if not isinstance(given, dict):
            return self._fault(path, None)
        before = len(self.faults)
        path += "."
        chip = self._choice(given, path, "chip", "", _RADIOS)
        pins = [self._pin(given, path, name) for name in _RADIO_PINS]
        busy = self._pin(given, path, "busy")
        tcxo_mv = self._number(given, path, "tcxo_mv", 0, 0, 3300)
        switch = self._flag(given, path, "dio2_switch", False)
        if len(self.faults) > before:
            return None
        if None in pins or (chip == _RADIOS[1]) != (busy is not None):
            return self._fault("board.radio", None)
        return Radio(chip, tuple(pins), busy, tcxo_mv, switch)

    def _traffic(self, given: dict):
        from node.traffic.kinds import FIELD, PULSE, RANGE, SENSORS

        row = self._map(given, "traffic")
        path = "traffic."
        sensor = self._choice(row, path, "sensor", "", tuple(SENSORS))
        if not sensor:
            return None
        kind = SENSORS[sensor][0]
        ports = self._ports(row, {FIELD: "bus", PULSE: "pin"}.get(kind, "uart"))
        if not ports:
            return None
        mount = "across" if kind == RANGE else ""
        mount = self._choice(row, path, "mount", mount, ("", "across", "along"))
        geometry: dict = {}
        for name, usual, low, high in _GEOMETRY:
            geometry[name] = self._number(row, path, name, usual, low, high)
        angle = _decimal(row.get("angle"))
        if angle is None or not 0 <= angle < 90:
            angle = self._fault(path + "angle", 0)
        geometry["angle"] = angle
        geometry["overhead"] = self._flag(row, path, "overhead", False)
        if (geometry["spacing"] > 0) != (len(ports) > 1):
            # Two that are no pair, or one that cannot be one.
            self._fault(path + "spacing", None)
            ports, geometry["spacing"] = ports[:1], 0
        return Traffic(sensor, mount, ports, geometry)

    def _ports(self, row: dict, kind: str) -> tuple:
        rows = row.get("ports")
        if not isinstance(rows, list) or not 0 < len(rows) < 3:
            return self._fault("traffic.ports", ())
        ports = []
        for i in range(len(rows)):
            path = "traffic.ports[%d]." % i
            port = rows[i] if isinstance(rows[i], dict) else {}
            number = self._pin(port, path, kind)
            if number is None or (kind != "pin" and not 0 < number < 3):
                return self._fault("traffic.ports[%d]" % i, ())
            address = self._number(port, path, "address", 0, 0x08, 0x77) if kind == "bus" else 0
            ports.append((number, address))
        return tuple(ports) if len(set(ports)) == len(ports) else self._fault("traffic.ports", ())

    def _fault(self, name: str, default):
        self.faults.append(name)
        return default

    def _number(self, given: dict, path: str, key: str, default: int, low: int, high: int) -> int:
        value = given.get(key)
        # A bool passes for an int, and is none here.
        if type(value) is int and low <= value <= high:
            return value
        return self._fault(path + key, default)

    def _text(self, given: dict, path: str, key: str, default: str, longest: int) -> str:
        value = given.get(key)
        if isinstance(value, str) and len(value) <= longest:
            return value
        return self._fault(path + key, default)

    def _flag(self, given: dict, path: str, key: str, default: bool) -> bool:
        value = given.get(key)
        return value if isinstance(value, bool) else self._fault(path + key, default)

    def _choice(self, given: dict, path: str, key: str, default: str, choices: tuple) -> str:
        value = given.get(key)
        if isinstance(value, str) and value in choices:
            return value
        return self._fault(path + key, default)

    def _map(self, given: dict, key: str) -> dict:
        value = given.get(key)
        return value if isinstance(value, dict) else self._fault(key, {})

    def _pin(self, given: dict, path: str, key: str):
        value = given.get(key)
        if value is None or (type(value) is int and 0 <= value <= _MAX_PIN):
            return value
        return self._fault(path + key, None)

    def _i2c(self, board: dict, name: str):
        given = board.get(name)
        if given is None:
            return None
        path = "board." + name
        if not isinstance(given, dict):
            return self._fault(path, None)
        scl = self._pin(given, path + ".", "scl")
        sda = self._pin(given, path + ".", "sda")
        freq = self._number(given, path + ".", "freq", 100000, 10000, 1000000)
        if scl is None or sda is None or scl == sda:
            return self._fault(path, None)
        return scl, sda, freq

    def _uarts(self, board: dict) -> list:
        rows = board.get("uarts", [])
        if not isinstance(rows, list) or len(rows) > _MAX_UARTS:
            return self._fault("board.uarts", [])
        uarts = []
        for row in rows:
            if not isinstance(row, dict):
                return self._fault("board.uarts", [])
            rx = self._pin(row, "board.uarts.", "rx")
            tx = self._pin(row, "board.uarts.", "tx")
            if rx is None or tx is None or rx == tx:
                return self._fault("board.uarts", [])
            uarts.append((rx, tx))
        return uarts

    def _divider(self, board: dict, name: str):
        given = board.get(name)
        if given is None:
            return None
        path = "board." + name
        if not isinstance(given, dict):
            return self._fault(path, None)
        pin = self._pin(given, path + ".", "pin")
        ratio = _decimal(given.get("ratio"))
        if pin is None or ratio is None or not 0 < ratio <= 100:
            return self._fault(path, None)
        switch = self._pin(given, path + ".", "switch")
        return pin, ratio, switch, 1 if given.get("level") else 0

    def _sensors(self, given: dict) -> list:
        rows = given.get("sensors")
        if not isinstance(rows, list):
            return self._fault("sensors", [])
        sensors = []
        for i in range(len(rows)):
            path = "sensors[%d]" % i
            if i >= _MAX_SENSORS:
                self._fault(path, None)
                break
            row = rows[i]
            if not isinstance(row, dict):
                self._fault(path, None)
                continue
            sensor = self._sensor(row, i, path + ".")
            if sensor is not None:
                sensors.append(sensor)
        return sensors

    def _sensor(self, row: dict, place: int, path: str):
        chip = row.get("chip", "")
        if not _is_module(chip):
            return self._fault(path + "chip", None)
        sensor = Sensor(place, chip, 0, 0, 2)
        if "uart" in row:
            sensor.uart = self._number(row, path, "uart", 0, 1, max(1, len(self.uarts)))
        elif "pin" in row:
            sensor.pin = self._pin(row, path, "pin")
        else:
            sensor.address = self._number(row, path, "address", 0, 0x08, 0x77)
            if "bus" in row:
                sensor.bus = self._number(row, path, "bus", 1, 1, 2)
        if not sensor.address and not sensor.uart and sensor.pin is None:
            return None
        sensor.switch = self._pin(row, path, "switch")
        sensor.settle_ms = self._number(row, path, "settle_ms", 0, 0, 60000)
        sensor.retries = self._number(row, path, "retries", 2, 0, 10)
        if "interval_s" in row:
            sensor.interval_s = self._number(row, path, "interval_s", 0, 1, 86400)
        sensor.options = self._options(row, path)
        sensor.adjust = self._pairs(row, path, "adjust")
        sensor.limits = self._pairs(row, path, "limits")
        return sensor

    def _options(self, row: dict, path: str) -> dict:
        given = row.get("options", {})
        if not isinstance(given, dict) or len(given) > _MAX_OPTIONS:
            return self._fault(path + "options", {})
        for name in given:
            value = given[name]
            if not isinstance(name, str) or not isinstance(value, (bool, int, float, str, bytes)):
                return self._fault(path + "options", {})
        return given

    def _pairs(self, row: dict, path: str, key: str) -> dict:
        """Return a map of names to pairs of numbers."""
        given = row.get(key, {})
        if not isinstance(given, dict) or len(given) > _MAX_OPTIONS:
            return self._fault(path + key, {})
        pairs = {}
        for name in given:
            pair = given[name]
            if not isinstance(name, str) or not isinstance(pair, list) or len(pair) != 2:
                return self._fault(path + key, {})
            first, second = _decimal(pair[0]), _decimal(pair[1])
            if first is None or second is None:
                return self._fault(path + key, {})
            pairs[name] = (first, second)
        return pairs


def _decimal(value):
    """Return a number that is finite, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if -_MOST < value < _MOST else None


def _is_module(name) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_CHIP:
        return False
    return all("a" <= c <= "z" or "0" <= c <= "9" or c == "_" for c in name)


def load(data: bytes) -> Config:
    """Return the configuration in the bytes of `/config.cbor`."""
    try:
        return Config(decode(data))
    except CborError:
        return Config(None)
