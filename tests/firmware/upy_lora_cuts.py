"""The power is cut at every operation on flash and NVS of join, uplinks and downlinks.

The network goes on: it asserts that no DevNonce and no uplink counter comes twice, and has to get
every record that was accepted.
"""

from lorawan_network import Network
from node.core import commands
from node.wire import schema
from node_flash import Flash, apply, tear
from node_mast import APP_KEY, DEV_EUI, JOIN_EUI, Mast, Pole, Station, rate

PARTS = 2


def copy(network):
    """Return a network that has heard the same."""
    new = Network(DEV_EUI, JOIN_EUI, APP_KEY)
    for name, value in network.__dict__.items():
        if isinstance(value, (list, dict)):
            value = value.copy()
        setattr(new, name, value)
    return new


class Story:
    """A node's life, with what the network knew and what was accepted at each operation."""

    def __init__(self):
        self.board = Pole()
        self.cells = bytearray(self.board.flash.cells)
        self.journal = self.board.flash.journal = []
        self.mast = Mast()
        self.known = [(-1, copy(self.mast.network), 0)]
        self.accepted = []  # (operations before it was there, number)
        self.obeyed_at = 0  # after so many it had obeyed a command
        take = self.mast.take

        def noted(*args):
            take(*args)
            self.known.append((len(self.journal), copy(self.mast.network), len(self.mast.got)))

        self.mast.take = noted

    def accept(self, s, count=1):
        for _ in range(count):
            s.accept(1, schema.EVENT)
            self.accepted.append((len(self.journal), s.node.spool.next_seq - 1))

    def at(self, cut):
        """Return the network, what it had got, and what was accepted before an operation."""
        _, network, got = [row for row in self.known if row[0] <= cut][-1]
        accepted = [seq for after, seq in self.accepted if after <= cut]
        return copy(network), set(self.mast.got[:got]), set(accepted)


def told():
    """Join at the third request, send, be told things, pass a reservation, restart, go on."""
    story = Story()
    mast = story.mast
    with Station(mast, story.board) as s:
        asked = []

        def answers(phy):
            asked.append(phy)
            return len(asked) > 2

        mast.answers = answers
        story.accept(s, 2)
        s.run(150)
        assert s.mac.joined
        mast.queue.append((10, mast.command(commands.RESTART, 1)))
        story.accept(s)
        s.run(20)
        story.obeyed_at = len(story.journal)
        mast.hears = lambda phy: False
        story.accept(s)
        s.run(20)
        mast.hears = lambda phy: True
        mast.queue.append(rate(3) + b"\x05\x03\xd2\xad\x84")  # LinkADRReq, RXParamSetupReq
        story.accept(s)
        s.run(20)
        # A laboratory has it send each 5 s: nothing is answered, and the block is used up.
        mast.queue.append((224, b"\x06\x01"))
        story.accept(s)
        s.run(20)
        mast.answers = lambda phy: False
        s.run(170)
        mast.answers = lambda phy: True
        mast.queue.append((10, mast.command(commands.INTERVAL, 2, 600)))
        story.accept(s, 2)
        s.run(30)
        assert len(s.obeyed) == 2
        assert len(mast.network.frames) > 32
    with Station(mast, story.board, seed=2) as s:
        story.accept(s, 2)
        s.run(400)
        assert s.pending <= 2
    assert len(mast.network.nonces) == 3
    return story


def do(cells, marks, operation):
    if operation[0] == "mark":
        marks[operation[1]] = operation[2]
    else:
        apply(cells, operation)


def check(cells, marks, story, cut):
    """Start on what a cut before that operation has left, and go on."""
    network, got, accepted = story.at(cut)
    board = Pole()
    board.flash = Flash(cells)
    board.marks = dict(marks)
    mast = Mast(network)
    mast.queue = [rate(5)]
    with Station(mast, board, seed=cut + 3) as s:
        assert not s.sessions.damaged
        s.accept(2, schema.EVENT)
        first = s.node.spool.next_seq - 2
        s.run(900)
        assert s.mac.joined, cut
        arrived = got | set(mast.got)
        assert accepted | {first, first + 1} <= arrived, (cut, sorted(accepted - arrived))
        # A command is not taken a second time.
        mast.queue = [(10, mast.command(commands.RESTART, 1))]
        if cut >= story.obeyed_at:
            s.obeyed = []
            s.accept(1, schema.EVENT)
            s.run(600)
            assert s.obeyed == [], cut


def sweep(part):
    story = told()
    cells, marks = story.cells, {}
    journal = story.journal
    for cut in range(len(journal)):
        if cut % PARTS == part:
            check(bytearray(cells), marks, story, cut)
            if journal[cut][0] != "mark":
                torn = bytearray(cells)
                tear(torn, journal[cut], cut // PARTS % 3)
                check(torn, marks, story, cut)
        do(cells, marks, journal[cut])
    assert cells == story.board.flash.cells
    assert marks == story.board.marks


def test_a_cut_at_any_operation_1():
    sweep(0)


def test_a_cut_at_any_operation_2():
    sweep(1)
