"""What a downlink carries: what is due is put together as far as there is room."""

from collections.abc import Callable
from dataclasses import dataclass

from citynode.virtual.air.network import frames, maccommands
from citynode.virtual.air.network.device import Crafted, Device, Queued, Received, Session


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Answer:
    """A downlink that is ready: `sent` and `failed` say what has become of it.

    `size` is what counts against the data rate's largest payload (None: it goes out whatever it
    is), `window` the only one that it may be sent in.
    """

    phy: bytes
    size: int | None = None
    window: int | None = None
    item_id: str | None = None
    f_cnt: int | None = None
    sent: Callable[[], object] = _nothing
    failed: Callable[[], object] = _nothing

    def fits(self, window: int, room: int) -> bool:
        """Tell whether it may go out in that window, with a largest payload of `room`."""
        return self.window in (None, window) and (self.size is None or self.size <= room)


def compose(
    device: Device,
    session: Session,
    uplink: Received,
    *,
    room: int,
    end_unix_ns: int,
    on_oversized: Callable[[Queued], object],
) -> Answer | None:
    """Return the answer to an uplink, None where there is nothing to say.

    `room` is the longest payload of any window, `end_unix_ns` the date of the uplink's end.
    """
    if device.crafted:
        return _by_hand(device.crafted.popleft(), session, uplink)
    answers = maccommands.answers(uplink, end_unix_ns)
    if request := maccommands.adaptation(device, session, uplink):
        answers.append(request)
    while device.queue and len(device.queue[0].payload) > room:
        on_oversized(device.queue.popleft())
    item = device.queue[0] if device.queue else None
    if not (uplink.confirmed or uplink.adr_ack_req or answers or device.requests or item):
        return None

    commands = [*answers, *device.requests]
    if sum(map(len, commands)) > frames.FOPTS_MAX:
        # They go on port 0, and the payload waits.
        item, limit = None, room
    else:
        limit = frames.FOPTS_MAX
    taken = _prefix(commands, limit)
    f_opts = b"".join(taken)
    if item is not None and len(item.payload) + len(f_opts) > room:
        item = None
    requests = [device.requests.popleft() for _ in range(max(0, len(taken) - len(answers)))]
    if item is not None:
        device.queue.popleft()
    on_port_0 = len(f_opts) > frames.FOPTS_MAX
    content = frames.Content(
        session.f_cnt_down,
        f_port=item.f_port if item else 0 if on_port_0 else None,
        payload=item.payload if item else f_opts if on_port_0 else b"",
        f_opts=b"" if on_port_0 else f_opts,
        confirmed=item is not None and item.confirmed,
        adr=device.profile.adr,
        ack=uplink.confirmed,
        f_pending=bool(device.queue or device.requests),
    )
    session.f_cnt_down += 1

    def sent() -> None:
        maccommands.note_requests(session, taken)
        if item is not None and item.confirmed:
            session.unconfirmed = item.id, content.f_cnt

    def failed() -> None:
        device.requests.extendleft(reversed(requests))
        if item is not None:
            device.queue.appendleft(item)

    return Answer(
        frames.data_down(session.dev_addr, session.nwk_skey, session.app_skey, content),
        content.size,
        item_id=item.id if item else None,
        f_cnt=content.f_cnt,
        sent=sent,
        failed=failed,
    )


def _prefix(commands: list[bytes], limit: int) -> list[bytes]:
    """Return as many of the first commands as there is room for."""
    taken: list[bytes] = []
    for command in commands:
        limit -= len(command)
        if limit < 0:
            break
        taken.append(command)
    return taken


def _by_hand(crafted: Crafted, session: Session, uplink: Received) -> Answer:
    if crafted.raw is not None:
        return Answer(crafted.raw, window=crafted.window)
    f_cnt = session.f_cnt_down if crafted.f_cnt is None else crafted.f_cnt
    if f_cnt == session.f_cnt_down:
        session.f_cnt_down += 1
    content = frames.Content(
        f_cnt,
        f_port=crafted.f_port,
        payload=crafted.payload,
        f_opts=crafted.f_opts,
        confirmed=crafted.confirmed,
        ack=uplink.confirmed if crafted.ack is None else crafted.ack,
        f_pending=bool(crafted.f_pending),
    )
    phy = frames.data_down(session.dev_addr, session.nwk_skey, session.app_skey, content)
    if crafted.wrong_mic:
        phy = frames.spoil_mic(phy)
    commands = crafted.payload if crafted.f_port == 0 else crafted.f_opts
    return Answer(
        phy,
        window=crafted.window,
        f_cnt=f_cnt,
        sent=lambda: maccommands.note_requests(session, [commands]),
    )
