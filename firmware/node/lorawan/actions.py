"""What the MAC asks its caller to do or tells it, in the order of the list it is in."""

from collections import namedtuple

# Store the bytes; nothing behind this may be done before they are sure to survive a power cut.
# Where they cannot be stored, a Tx behind is not sent but `failed`, and a Deliver is not believed.
Save = namedtuple("Save", ("state",))
# Transmit; then `done` at the end of transmission, or `failed`. The payload is a view that is
# good until then. `power_dbm` is at the antenna's connector.
Tx = namedtuple("Tx", ("payload", "freq_hz", "sf", "bw_khz", "power_dbm", "airtime_us"))
# Receive (IQ inverted) from `delay_us` after the end of the transmission on; give up when no
# preamble was found in `symbols`; then `received` or `missed`.
Rx = namedtuple("Rx", ("window", "delay_us", "freq_hz", "sf", "bw_khz", "symbols"))
# Nothing to do; call `tick` at `until_ms`, or not at all where it is None.
Idle = namedtuple("Idle", ("until_ms",))
# A payload for the application.
Deliver = namedtuple("Deliver", ("port", "payload", "rssi", "snr"))
# The uplink is over: how often it was on the air, whether a downlink for us followed it (so that
# the network has it), and for a confirmed one whether it was acknowledged (else None).
Sent = namedtuple("Sent", ("fcnt", "transmissions", "heard", "acked"))
# The network answered a link check: dB above the demodulation floor, and by how many gateways.
LinkCheck = namedtuple("LinkCheck", ("margin_db", "gateways"))
# The network's time (seconds since the GPS epoch and 1/256 of a second) at the caller's `at_ms`.
ClockSync = namedtuple("ClockSync", ("gps_s", "gps_256", "at_ms"))
# There is a session.
Joined = namedtuple("Joined", ("dev_addr",))
# "unheard": this request had no answer, the next one follows by itself; "exhausted": there is
# no DevNonce left for this JoinEUI and AppKey.
JoinFailed = namedtuple("JoinFailed", ("reason",))
# The certification protocol asks the application: "reset", "join", "period_ms", "cw".
Certify = namedtuple("Certify", ("command", "value"))


class LorawanError(Exception):
    """The caller asked for what cannot be done.

    `kind`: "busy" (an exchange is not over), "session" (there is none), "port", "size" (`detail`:
    the longest payload possible now), "rate", "rejoin" (`detail`: seconds until it is allowed),
    "event" (not expected now), "state" (the bytes are no saved state), "counter" (FCntUp is used
    up: join), "option" (no such setting).
    """

    def __init__(self, kind: str, detail=None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
