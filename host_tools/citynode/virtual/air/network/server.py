"""The bench network server: class A, LoRaWAN 1.0.4, EU868. A test instrument, not a network.

It has no sockets and no threads: gateways tell it what they heard, it tells them what to send, and
waits on the timeline it is given. Everything is in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from citynode.phy import crypto, mac
from citynode.phy.message import Data, JoinRequest, MType, PhyError, parse
from citynode.virtual.air.gateway import Gateway
from citynode.virtual.air.network import events, frames, joins, maccommands, region
from citynode.virtual.air.network.answer import Answer, compose
from citynode.virtual.air.network.device import Device, Profile, Received, Session
from citynode.virtual.air.network.events import Event
from citynode.virtual.air.network.gateways import AirAntenna, Antenna, Downlink, Heard, Timeline
from citynode.virtual.air.network.scheduler import Scheduler, Window
from citynode.virtual.world.clock import NS

NET_ID = 0x000000  # for networks of one's own (TS002: NetID 0 and 1 are for experiments)
APPLICATION_ID = "5f3c1a52-8b1e-4a36-9a53-0f4f2c0e7d11"
_DEDUPLICATION_NS = 200_000_000
_MOST_REPEATS = 15  # what NbTrans can be
_LAST_COUNTER = 0xFFFFFFFF
_MS = 1_000_000


class Network:
    """One network with its join server, over all gateways that are attached to it.

    `timeline` is an engine. `join_nonce` is the one before each device's first. `deduplication_ms`
    is how long it waits for the same uplink from other gateways; `duty_cycle` False lets gateways
    send without limit. `antennas` are its gateways, `devices` all devices by DevEUI. `strangers`
    counts frames that are of no registered device; `on_stranger(bytes)` is called for each.
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        net_id: int = NET_ID,
        join_nonce: int = 0,
        deduplication_ms: int = _DEDUPLICATION_NS // _MS,
        duty_cycle: bool = True,
    ) -> None:
        self.timeline = timeline
        self.net_id = net_id
        self._join_nonce = join_nonce
        self.devices: dict[bytes, Device] = {}
        self.antennas: list[Antenna] = []
        self.strangers = 0
        self.on_stranger: Callable[[bytes], object] = lambda phy: None
        self._deduplication_ns = deduplication_ms * _MS
        self._scheduler = Scheduler(duty_cycle=duty_cycle)
        self._chance = timeline.rng("network")
        self._collecting: dict[tuple[bytes, int, int, int], list[Heard]] = {}
        self._observers: list[Callable[[Event], object]] = []
        self._deaf_until_ns = 0
        self._mute_until_ns = 0

    # -- what a test does -----------------------------------------------------------------------

    def attach(self, gateway: Gateway, eui: bytes | None = None) -> AirAntenna:
        """Use a gateway of the air; its EUI is drawn if it is not given."""
        if eui is None:
            eui = self.timeline.rng(f"gateway {gateway.name}").randbytes(8)
        antenna = AirAntenna(gateway, eui, self.hear)
        self.antennas.append(antenna)
        return antenna

    def register(
        self,
        dev_eui: bytes,
        join_eui: bytes,
        app_key: bytes,
        *,
        name: str | None = None,
        profile: Profile | None = None,
        application_id: str = APPLICATION_ID,
    ) -> Device:
        """Make a device known (EUIs and key as printed); ValueError where the DevEUI is known."""
        if dev_eui in self.devices:
            raise ValueError(f"the DevEUI {dev_eui.hex()} is registered already")
        device = self.devices[dev_eui] = Device(
            dev_eui,
            join_eui,
            app_key,
            name=name or dev_eui.hex(),
            profile=profile or Profile(),
            application_id=application_id,
            next_id=self._uuid,
            join_nonce=self._join_nonce,
        )
        return device

    def observe(self, observer: Callable[[Event], object]) -> None:
        """Call `observer(event)` at everything that is told to applications."""
        self._observers.append(observer)

    def mute(self, seconds: float) -> None:
        """Hear, and send nothing, for a time from now on."""
        self._mute_until_ns = self.timeline.clock.now_ns() + round(seconds * NS)

    def black_out(self, seconds: float) -> None:
        """Neither hear nor send for a time from now on; what is remembered stays."""
        self._deaf_until_ns = self.timeline.clock.now_ns() + round(seconds * NS)
        self._collecting.clear()

    # -- hearing --------------------------------------------------------------------------------

    def hear(self, heard: Heard) -> None:
        """Take what a gateway has heard; the first copy of a frame starts the wait for others."""
        now = self.timeline.clock.now_ns()
        if now < self._deaf_until_ns:
            return
        key = heard.payload, heard.freq_hz, heard.sf, heard.bw_hz
        copies = self._collecting.get(key)
        if copies is None:
            self._collecting[key] = [heard]
            self.timeline.call_at(now + self._deduplication_ns, partial(self._collected, key))
        elif all(copy.antenna is not heard.antenna for copy in copies):
            copies.append(heard)

    def _collected(self, key: tuple[bytes, int, int, int]) -> None:
        copies = self._collecting.pop(key, [])
        rate = region.data_rate(key[2], key[3])
        if not copies or rate is None:
            return
        copies.sort(key=lambda copy: (-copy.snr_db, -copy.rssi_dbm, copy.antenna.eui))
        try:
            message = parse(key[0])
        except PhyError:
            self._stranger(key[0])
            return
        if isinstance(message, JoinRequest):
            self._join(message, rate, copies)
        elif isinstance(message, Data) and message.uplink:
            self._data(message, rate, copies)

    # -- joins ----------------------------------------------------------------------------------

    def _join(self, request: JoinRequest, rate: int, copies: list[Heard]) -> None:
        device = self.devices.get(request.dev_eui)
        if device is None:
            self._stranger(request.raw)
            return
        if complaint := joins.complaint(device, request):
            self._log(device, "ERROR", "OTAA", complaint, dev_nonce=str(request.dev_nonce))
            return
        device.dev_nonce = request.dev_nonce
        if not device.accept_joins or self._keeps_silent(device):
            return
        session, phy = joins.grant(device, request.dev_nonce, self.net_id, self._new_address())
        crafted = None
        if device.crafted and device.crafted[0].raw is not None:
            crafted = device.crafted.popleft()
            phy = crafted.raw or b""
        windows = [
            Window(1, region.JOIN_DELAY_S, copies[0].freq_hz, rate),
            Window(2, region.JOIN_DELAY_S + 1, region.RX2_HZ, region.RX2_RATE),
        ]
        device.joining = session

        def sent() -> None:
            if crafted is None:
                told = events.join(device, session, id=self._uuid(), unix_ns=self._unix_ns())
                self._tell(told)

        answer = Answer(phy, window=crafted.window if crafted else None, sent=sent)
        self._send(device, answer, windows, copies)

    def _new_address(self) -> int:
        """Draw an address that nobody has; the NetID's last six bits are above its 25 (TS002)."""
        used = {session.dev_addr for _, session in self._sessions()}
        while True:
            address = (self.net_id & 0x3F) << 25 | self._chance.getrandbits(25)
            if address not in used:
                return address

    def _sessions(self) -> Iterator[tuple[Device, Session]]:
        for device in self.devices.values():
            for session in (device.joining, device.session):
                if session is not None:
                    yield device, session

    # -- data -----------------------------------------------------------------------------------

    def _data(self, message: Data, rate: int, copies: list[Heard]) -> None:
        known = [pair for pair in self._sessions() if pair[1].dev_addr == message.dev_addr]
        for device, session in known:
            if message.raw == session.last_phy:
                self._repeated(device, session, rate, copies)
                return
            f_cnt = session.whole_counter(message.f_cnt)
            if _is_right(message, session, f_cnt):
                self._accepted(device, session, message, f_cnt, rate, copies)
                return
        for device, session in known:
            f_cnt = session.whole_counter(message.f_cnt) - 0x10000
            if _is_right(message, session, f_cnt):
                self._log(
                    device, "WARNING", "UPLINK_F_CNT_RESET",
                    "the frame counter was used before", f_cnt=str(f_cnt),
                )  # fmt: skip
                return
        if known:
            self._log(known[0][0], "ERROR", "UPLINK_MIC", "the MIC is wrong")
        else:
            self._stranger(message.raw)

    def _repeated(self, device: Device, session: Session, rate: int, copies: list[Heard]) -> None:
        """Answer a repetition of the last frame once more; the application has it already."""
        session.repeats += 1
        self._log(
            device, "INFO" if session.repeats <= _MOST_REPEATS else "WARNING",
            "UPLINK_F_CNT_RETRANSMISSION", "the last frame was repeated",
            repeats=str(session.repeats),
        )  # fmt: skip
        last = device.uplinks[-1] if device.session is session and device.uplinks else None
        if last and last.f_cnt == session.f_cnt_up and session.repeats <= _MOST_REPEATS:
            self._answer(device, session, replace(last, rate=rate, copies=tuple(copies)))

    def _accepted(
        self,
        device: Device,
        session: Session,
        message: Data,
        f_cnt: int,
        rate: int,
        copies: list[Heard],
    ) -> None:
        session.f_cnt_up = f_cnt
        session.last_phy = message.raw
        session.repeats = 0
        if session is device.joining:
            device.session, device.joining = session, None
        port = message.f_port
        key = session.app_skey if port else session.nwk_skey
        payload = crypto.crypt(key, True, message.dev_addr, f_cnt, message.payload)
        if port == 0 and message.f_opts:
            return  # neither may be believed (TS001 4.3.1.6)
        commands = tuple(mac.read(payload if port == 0 else message.f_opts, uplink=True))
        flags = message.flags
        uplink = Received(
            f_cnt,
            port,
            payload,
            confirmed=message.mtype is MType.CONFIRMED_UP,
            adr="adr" in flags,
            adr_ack_req="adr_ack_req" in flags,
            ack="ack" in flags,
            commands=commands,
            rate=rate,
            copies=tuple(copies),
        )
        device.uplinks.append(uplink)
        device.on_uplink(uplink)
        self._note(device, session, uplink)
        self._answer(device, session, uplink)

    def _note(self, device: Device, session: Session, uplink: Received) -> None:
        """Tell the application, and take what the uplink says about downlinks."""
        id, unix_ns = self._uuid(), self._unix_ns()
        session.snrs_db.append(uplink.copies[0].snr_db)
        maccommands.take_answers(
            session,
            uplink,
            lambda command: self._tell(events.status(device, command, id=id, unix_ns=unix_ns)),
        )
        numbers = [self._chance.getrandbits(32) for _ in uplink.copies]
        self._tell(events.up(device, session, uplink, id=id, unix_ns=unix_ns, uplink_ids=numbers))
        if session.unconfirmed is not None:
            item, session.unconfirmed = session.unconfirmed, None
            self._tell(
                events.ack(device, id=id, unix_ns=unix_ns, item=item, acknowledged=uplink.ack)
            )

    # -- answering ------------------------------------------------------------------------------

    def _answer(self, device: Device, session: Session, uplink: Received) -> None:
        if self._keeps_silent(device):
            return
        copies = list(uplink.copies)
        windows = [
            Window(
                1,
                session.rx1_delay_s,
                session.rx1_frequency(copies[0].freq_hz),
                region.rx1_rate(uplink.rate, session.rx1_dr_offset),
            ),
            Window(2, session.rx1_delay_s + 1, session.rx2_hz, session.rx2_rate),
        ]
        elapsed_ns = self.timeline.clock.now_ns() - copies[0].end_ns
        answer = compose(
            device,
            session,
            uplink,
            room=max(region.MAX_PAYLOAD[window.rate] for window in windows),
            end_unix_ns=self._unix_ns() - elapsed_ns,
            on_oversized=lambda item: self._log(
                device, "ERROR", "DOWNLINK_PAYLOAD_SIZE",
                "the payload is too long for the data rate", queue_item_id=item.id,
            ),
        )  # fmt: skip
        if answer is not None:
            self._send(device, answer, windows, copies)

    def _keeps_silent(self, device: Device) -> bool:
        if device.silence > 0:
            device.silence -= 1
            return True
        return self.timeline.clock.now_ns() < max(self._mute_until_ns, self._deaf_until_ns)

    def _send(
        self, device: Device, answer: Answer, windows: Sequence[Window], copies: Sequence[Heard]
    ) -> None:
        if device.wrong_mics > 0:
            device.wrong_mics -= 1
            answer = replace(answer, phy=frames.spoil_mic(answer.phy))

        def on_sent(copy: Heard, downlink: Downlink, known: bool) -> None:
            answer.sent()
            if known:
                self._tell(
                    events.txack(
                        device,
                        downlink_id=self._chance.getrandbits(32),
                        unix_ns=self._unix_ns(),
                        item_id=answer.item_id,
                        f_cnt_down=answer.f_cnt,
                        copy=copy,
                        downlink=downlink,
                    )
                )

        def on_failed(reason: str) -> None:
            answer.failed()
            self._log(
                device, "ERROR", "DOWNLINK_GATEWAY", "no gateway can send the downlink",
                reason=reason,
            )  # fmt: skip

        self._scheduler.send(answer, windows, copies, on_sent, on_failed)

    # -- small things ---------------------------------------------------------------------------

    def _unix_ns(self) -> int:
        return self.timeline.clock.unix_ns()

    def _uuid(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128), version=4))

    def _stranger(self, phy: bytes) -> None:
        self.strangers += 1
        self.on_stranger(phy)

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)

    def _log(self, device: Device, level: str, code: str, text: str, **context: str) -> None:
        self._tell(
            events.log(
                device,
                unix_ns=self._unix_ns(),
                level=level,
                code=code,
                description=text,
                **context,
            )
        )


def _is_right(message: Data, session: Session, f_cnt: int) -> bool:
    if not 0 <= f_cnt <= _LAST_COUNTER:
        return False
    frame = message.dev_addr, f_cnt, message.raw[:-4]
    return crypto.data_mic(session.nwk_skey, True, *frame) == message.raw[-4:]
