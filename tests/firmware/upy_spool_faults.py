"""Flash that fails, is full or has been damaged: no crash, nothing invented, nothing given up."""

import os

import vfs
from node_flash import ERASE, FOLDER, PROGRAM, Files, Flash, formatted, read_all
from node_tools import Chance

EIO, ENOSPC = 5, 28
CORRUPT = 84  # LittleFS takes it for a bad block and goes to another
LIMIT = 16384


def new_epoch():
    return 1


def whole(flash):
    flash.fault = lambda *_: 0


def fill(spool, count, accepted, size=200, era=0):
    """Append; note what was accepted; return the errno of each that was not."""
    refused = []
    for _ in range(count):
        frame = b"%05d" % len(accepted) + bytes(size - 5)
        try:
            accepted.append((spool.append(frame, era), frame))
        except OSError as error:
            refused.append(error.args[0])
    return refused


def given(spool):
    """Return all that the spool gives from its oldest record on, as (seq, frame)."""
    spool.rewind()
    return [(seq, frame) for seq, _, _, frame in read_all(spool)]


def breaking(number, code):
    """Return a fault: the change of that number fails, as the ESP32's partition has it: raises."""
    left = [number]

    def fault(kind, address, count):
        left[0] -= kind in (PROGRAM, ERASE)
        if left[0] == -1 and kind != "read":
            left[0] -= 1
            if code == EIO:
                raise OSError(code)
            return -code
        return 0

    return fault


def test_one_failed_operation_costs_no_record():
    for code in (EIO, CORRUPT):
        for number in range(0, 330, 3):
            flash = formatted()
            accepted = []
            with Files(flash) as files:
                spool, _ = files.spool(LIMIT, new_epoch)
                flash.fault = breaking(number, code)
                assert fill(spool, 22, accepted) == [], number
                assert given(spool) == accepted
                whole(flash)
                assert fill(spool, 2, accepted) == []
                assert spool.dropped == spool.damaged == 0
            with Files(flash) as files:
                spool, _ = files.spool(LIMIT, new_epoch)
                assert given(spool) == accepted


def test_flash_that_takes_nothing_refuses_and_keeps_what_it_has():
    for kinds in ((PROGRAM,), (ERASE,), (PROGRAM, ERASE)):
        flash = formatted()
        accepted = []
        with Files(flash) as files:
            spool, _ = files.spool(LIMIT, new_epoch)
            assert fill(spool, 40, accepted) == []
            flash.fault = lambda kind, *_, kinds=kinds: -EIO if kind in kinds else 0
            assert fill(spool, 10, accepted) == [EIO] * 10
            assert spool.dropped == 0
            assert given(spool) == accepted
            failures = 0
            for seq, _ in accepted:
                try:
                    spool.release(seq)
                except OSError:
                    failures += 1
            assert failures or kinds == (ERASE,)
            assert spool.pending == 0
            whole(flash)
            assert fill(spool, 3, accepted) == []
            spool.save()
        with Files(flash) as files:
            spool, _ = files.spool(LIMIT, new_epoch)
            assert given(spool) == accepted[40:]


def test_a_node_starts_on_a_flash_that_takes_nothing():
    for count, left in ((0, []), (20, list(range(20)))):
        flash = formatted()
        accepted = []
        with Files(flash) as files:
            fill(files.spool(LIMIT, new_epoch)[0], count, accepted)
            os.remove(FOLDER + "/state")
        flash.fault = lambda kind, *_: 0 if kind == "read" else -EIO
        with Files(flash) as files:
            spool, state = files.spool(LIMIT, new_epoch)
            assert [seq for seq, _ in given(spool)] == left
            assert fill(spool, 1, accepted) == [EIO]
            whole(flash)
            assert fill(spool, 1, accepted) == []
            spool.save()
        with Files(flash) as files:
            spool, state = files.spool(LIMIT, new_epoch)
            assert state.found
            assert given(spool) == accepted


def test_a_segment_that_cannot_be_opened_ends():
    """Records that come later go to the next one."""
    flash = formatted()
    accepted = []
    with Files(flash) as files:
        fill(files.spool(LIMIT, new_epoch)[0], 5, accepted)
    with Files(flash) as files:
        spool, _ = files.spool(LIMIT, new_epoch)
        os.remove(FOLDER + "/00000000")
        os.mkdir(FOLDER + "/00000000")
        assert fill(spool, 3, accepted) == []
        assert given(spool) == accepted[5:]
        assert spool.damaged == 5


def test_full_flash_drops_the_oldest_and_counts_them():
    flash = formatted(blocks=14)
    accepted = []
    with Files(flash) as files:
        # The limit is beyond what the flash has: LittleFS says so, in the midst of an append.
        spool, _ = files.spool(1 << 20, new_epoch)
        assert fill(spool, 300, accepted) == []
        assert spool.dropped > 100
        assert given(spool) == accepted[spool.dropped :]
    with Files(flash) as files:
        again, _ = files.spool(1 << 20, new_epoch)
        assert given(again) == accepted[spool.dropped :]


def test_no_room_for_a_single_segment():
    flash = formatted(blocks=8)
    accepted = []
    with Files(flash) as files:
        spool, _ = files.spool(LIMIT, new_epoch)
        fill(spool, 3, accepted)
        others = 0
        try:
            while True:
                with open("/f/other%d" % others, "wb") as file:
                    file.write(bytes(1024))
                others += 1
        except OSError as error:
            assert error.args[0] == ENOSPC
        assert fill(spool, 3, accepted) == [ENOSPC] * 3
        assert spool.dropped == 0
        assert given(spool) == accepted
        for number in range(others):
            os.remove("/f/other%d" % number)
        assert fill(spool, 3, accepted) == []
        assert given(spool) == accepted


def test_size_is_bounded_and_the_oldest_go():
    for limit, segments in ((0, 2), (8192, 2), (20000, 4)):
        flash = formatted()
        accepted = []
        with Files(flash) as files:
            spool, _ = files.spool(limit, new_epoch)
            for _ in range(100):
                fill(spool, 1, accepted)
                sizes = [entry[3] for entry in os.ilistdir(FOLDER) if entry[0] != "state"]
                assert len(sizes) <= segments
                assert max(sizes) <= 4096
                # A record that was read is not lost on the way to its release.
                assert spool.next_seq - spool.pending == spool.dropped
            assert given(spool) == accepted[spool.dropped :]
            # All segments but the one in hand are full: 18 records of 216 bytes.
            assert spool.pending > 18 * (segments - 1)


def test_frames_of_any_length_that_there_can_be():
    flash = formatted()
    accepted = []
    with Files(flash) as files:
        spool, _ = files.spool(LIMIT, new_epoch)
        for size in (3, 241, 0):
            try:
                spool.append(bytes(size))
            except ValueError:
                continue
            raise AssertionError(size)
        for size in (4, 5, 23, 239, 240, 4):
            frame = bytes([size]) * size
            accepted.append((spool.append(memoryview(frame)), frame))
        assert given(spool) == accepted


def test_state_that_is_lost_repeats_no_number_and_no_era():
    flash = formatted()
    accepted = []
    with Files(flash) as files:
        spool, state = files.spool(LIMIT, lambda: 99)
        for _ in range(4):
            fill(spool, 30, accepted, 50, era=state.new_era())
        for seq in range(70):
            spool.release(seq)
    with Files(flash) as files:
        with open(FOLDER + "/state", "r+b") as file:
            file.seek(9)
            file.write(b"?")
        spool, state = files.spool(LIMIT, new_epoch)
        assert state.epoch == 99
        assert spool.next_seq == 120
        assert state.new_era() == 5
        found = given(spool)
        assert found == accepted[-len(found) :]
        assert len(found) >= 50


def spoil(place, base):
    """Change a byte of a segment, in its header or in an entry of 216 bytes (the first is 0)."""
    with open(FOLDER + "/%08x" % base, "r+b") as file:
        file.seek(5 if place is None else 16 + 216 * place + 100)
        file.write(b"?")


def test_numbers_that_damage_hides_are_not_used_again():
    # 18 records of 216 bytes make a segment: 0 … 17, 18 … 35, 36 ….
    for count, base, place, lost in (
        (25, 18, None, 7),
        (25, 18, 0, 7),
        (25, 18, 4, 3),
        (25, 18, 6, 1),
        (25, 0, 4, 14),
        (25, 0, None, 0),  # only the newest segment's header is needed
        (36, 18, 0, 18),
    ):
        flash = formatted()
        accepted = []
        with Files(flash) as files:
            assert fill(files.spool(LIMIT, new_epoch)[0], count, accepted) == []
        with Files(flash) as files:
            spoil(place, base)
            spool, _ = files.spool(LIMIT, new_epoch)
            left = given(spool)
            gone = [record for record in accepted if record not in left]
            assert len(gone) == lost, (base, place)
            assert spool.next_seq >= count
            more = []
            assert fill(spool, 3, more) == []
            assert given(spool) == left + more
            assert spool.damaged >= lost
            again = spool.damaged
            given(spool)
            assert spool.damaged == again  # counted once
        with Files(flash) as files:
            assert given(files.spool(LIMIT, new_epoch)[0]) == left + more


def newest():
    return max([int(name, 16) for name in os.listdir(FOLDER) if name != "state"])


def test_damage_upon_damage_repeats_no_number_either():
    flash = formatted()
    accepted = []
    with Files(flash) as files:
        spool, _ = files.spool(LIMIT, new_epoch)
        for count, size in ((3, 5), (5, 5), (2, 200)):
            # A failed write begins another segment: there are small ones.
            flash.fault = breaking(0, EIO)
            assert fill(spool, count, accepted, size) == []
    for _ in range(2):
        with Files(flash) as files:
            spoil(None, newest())
            spool, state = files.spool(LIMIT, new_epoch)
            used = accepted[-1][0]
            assert fill(spool, 2, accepted, 5) == []
            assert accepted[-2][0] > used
            assert state.epoch == 1


def test_rubbish_behind_the_last_record_hides_none():
    for size in (1, 4, 19, 20, 45):
        flash = formatted()
        accepted = []
        with Files(flash) as files:
            fill(files.spool(LIMIT, new_epoch)[0], 4, accepted)
            with open(FOLDER + "/00000000", "ab") as file:
                file.write(b"?" * size)
        with Files(flash) as files:
            assert fill(files.spool(LIMIT, new_epoch)[0], 3, accepted) == []
        with Files(flash) as files:
            assert given(files.spool(LIMIT, new_epoch)[0]) == accepted


def damaged(chance, cells):
    """Return the flash with bytes, words or a sector changed in a few places."""
    cells = bytearray(cells)
    for _ in range(1 + chance.below(4)):
        at = chance.below(len(cells) // 4) * 4 + chance.below(4)
        what = chance.below(4)
        if what == 0:
            cells[at] ^= 1 << chance.below(8)
        elif what == 1:
            cells[at : at + 1] = chance.bytes(1)
        elif what == 2:
            at &= ~3
            cells[at : at + 4] = chance.bytes(4)
        else:
            at &= ~31
            cells[at : at + 32] = bytes((255 * chance.below(2),)) * 32
    return cells


def test_damaged_flash_loses_records_and_invents_none():
    chance = Chance(42)
    flash = formatted(blocks=16)
    accepted = []
    with Files(flash) as files:
        spool, _ = files.spool(LIMIT, new_epoch)
        fill(spool, 60, accepted, 120)
        for seq in range(20):
            spool.release(seq)
        spool.save()
    genuine = set(accepted)
    whole_ones = lossy = 0
    for _ in range(220):
        cells = damaged(chance, flash.cells)
        other = Flash(cells)
        try:
            other_files = vfs.VfsLfs2(other)
        except OSError:
            continue  # no file system any more: that is for the host tools
        vfs.mount(other_files, "/f")
        spool, state = Files(other).spool(LIMIT, lambda: 2)
        found = given(spool)
        assert found == sorted(found)
        assert set(found) <= genuine
        whole_ones += len(found) == 40
        lossy += len(found) < 40
        before = spool.next_seq
        added = []
        if not fill(spool, 3, added):
            assert given(spool)[-3:] == added
            assert added[0][0] >= before
            assert state.epoch == 2 or before > max([-1] + [seq for seq, _ in found])
        for seq, _ in given(spool):
            spool.release(seq)
        assert spool.read() is None
        vfs.umount("/f")
    assert whole_ones > 25
    assert lossy > 25
