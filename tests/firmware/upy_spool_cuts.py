"""The power is cut at every operation on the flash: what was accepted is delivered, in order."""

from node_flash import Files, Flash, apply, formatted, read_all, tear
from node_tools import Chance

LIMIT = 8192
EPOCH = 0xC0FFEE


class Story:
    """A spool at work, and what the journal of its flash had reached at each call and return.

    `before` are records that were there at the start, `gone` says that those up to it were not.
    """

    def __init__(self, flash, seed, before=(), gone=0):
        self.flash = flash
        flash.journal = []
        self.chance = Chance(seed)
        self.appends = [[seq, frame, -1, -1] for seq, _, _, frame in before]
        self.given_up = {}  # by seq: the journal from which on it may have gone
        self.saves = [(-1, gone)]  # (journal, all before this number are gone for good)
        self.counted = 0

    def start(self, files):
        self.spool, self.state = files.spool(LIMIT, lambda: EPOCH)

    @property
    def now(self):
        return len(self.flash.journal)

    def append(self, count, size=240):
        spool = self.spool
        for _ in range(count):
            frame = self.chance.bytes(size)
            entry = [spool.next_seq, frame, self.now, None]
            self.appends.append(entry)
            assert spool.append(frame, 3, 77) == entry[0]
            entry[3] = self.now
            oldest = spool.next_seq - spool.pending
            for seq, _, _, _ in self.appends:
                if seq < oldest and seq not in self.given_up:
                    self.given_up[seq] = entry[2]
                    self.counted += 1
        assert spool.dropped == self.counted

    def release(self, count):
        spool = self.spool
        spool.rewind()
        for _ in range(count):
            seq = spool.read()[0]
            self.given_up[seq] = self.now
            spool.release(seq)
        if spool.pending == 0:
            self.saves.append((self.now, spool.next_seq))

    def restart(self, files):
        self.spool.close()
        self.saves.append((self.now, self.spool.next_seq - self.spool.pending))
        before = self.spool.next_seq
        self.start(files)
        assert self.spool.next_seq == before
        self.counted = 0

    def at(self, cut):
        """Return what a cut before that operation must leave, what it may, and what is gone."""
        must, may = {}, {}
        for seq, frame, before, after in self.appends:
            if before > cut:
                break
            may[seq] = frame
            if after is not None and after <= cut and self.given_up.get(seq, cut + 1) > cut:
                must[seq] = frame
        return must, may, max([cursor for at, cursor in self.saves if at <= cut])


def told():
    """Append, roll over, release, restart, drop what does not fit, release all, go on."""
    flash = formatted()
    cells = bytearray(flash.cells)
    story = Story(flash, 7)
    with Files(flash) as files:
        story.start(files)
        story.append(17)
        story.release(3)
        story.restart(files)
        story.append(2, 31)
        story.release(14)
        story.append(16)
        story.append(16)  # the oldest segment has to go
        story.release(5)
        story.restart(files)
        story.release(story.spool.pending)
        story.append(3, 10)
    assert len(flash.journal) > 800
    return story, cells


def found(spool, must, may, gone):
    """Check what the spool gives after a cut, and return it."""
    records = read_all(spool)
    seqs = [record[0] for record in records]
    assert seqs == sorted(set(seqs)), seqs
    for seq, era, at, frame in records:
        assert (era, at, frame) == (3, 77, may[seq]), seq
        assert seq >= gone, (seq, gone)
    assert not set(must) - set(seqs), (sorted(must), seqs)
    assert spool.damaged == spool.dropped == 0
    assert spool.pending == len(records)
    assert spool.next_seq > max([-1] + seqs + list(must))
    return records


def check(cells, story, cut):
    """Start on what a cut before that operation has left: all is there, and it goes on."""
    must, may, gone = story.at(cut)
    flash = Flash(cells)
    with Files(flash) as files:
        # Another epoch is for a spool in which nothing was ever accepted.
        spool, state = files.spool(LIMIT, lambda: EPOCH + 1)
        records = found(spool, must, may, gone)
        assert state.epoch == EPOCH or not (records or must)
        added = [spool.append(b"new %d" % i) for i in range(2)]
        spool.rewind()
        got = read_all(spool)
        if spool.dropped:
            # Full as it was, the first new record may have cost the oldest segment.
            kept = [record for record in records if record[0] >= got[0][0]]
            assert len(records) - len(kept) <= spool.dropped <= 16
            records = kept
        assert got[:-2] == records
        assert [(seq, frame) for seq, _, _, frame in got[-2:]] == [
            (added[0], b"new 0"),
            (added[1], b"new 1"),
        ]
        for record in got:
            spool.release(record[0])
        assert spool.pending == 0
    with Files(flash) as files:
        spool, state = files.spool(LIMIT, lambda: EPOCH + 2)
        assert spool.read() is None
        assert spool.pending == 0
        assert spool.next_seq == added[1] + 1


def sweep(part, parts):
    """Cut before each operation, and in its midst."""
    story, cells = told()
    journal = story.flash.journal
    for cut in range(len(journal)):
        if cut % parts == part:
            check(bytearray(cells), story, cut)
            torn = bytearray(cells)
            tear(torn, journal[cut], cut // parts % 3)
            check(torn, story, cut)
        apply(cells, journal[cut])
    assert cells == story.flash.cells


def test_a_cut_at_any_operation_1():
    sweep(0, 5)


def test_a_cut_at_any_operation_2():
    sweep(1, 5)


def test_a_cut_at_any_operation_3():
    sweep(2, 5)


def test_a_cut_at_any_operation_4():
    sweep(3, 5)


def test_a_cut_at_any_operation_5():
    sweep(4, 5)


def test_a_second_cut_while_it_recovers_and_goes_on():
    chance = Chance(1)
    story, cells = told()
    journal = story.flash.journal
    second_cuts = 0
    for cut in range(len(journal)):
        if cut % 67 == 40:
            torn = bytearray(cells)
            tear(torn, journal[cut], chance.below(3))
            must, may, gone = story.at(cut)
            with Files(Flash(bytearray(torn))) as files:
                before = found(files.spool(LIMIT, lambda: EPOCH)[0], must, may, gone)
            flash = Flash(bytearray(torn))
            again = Story(flash, cut, before, gone)
            with Files(flash) as files:
                again.start(files)
                again.append(2)
                again.release(1)
                again.append(14)
            for number in range(len(flash.journal)):
                if number < 4 or chance.below(20) == 0:
                    twice = bytearray(torn)
                    tear(twice, flash.journal[number], chance.below(3))
                    check(twice, again, number)
                    second_cuts += 1
                apply(torn, flash.journal[number])
        apply(cells, journal[cut])
    assert second_cuts > 100
