"""Random runs of records, and what packing them gives; runs on CPython and on MicroPython."""

import binascii

from citynode.wire.batch import Packer
from citynode.wire.cbor import UNDEFINED, put_int
from citynode.wire.schema import RECORDS
from wire_tools import Chance

NOON = 1750000000
ROUNDS = 10000
SEED = 12


def open_frame(kind, seq, t, status, raws):
    """Return an open frame of the integers on the air, None and UNDEFINED."""
    buffer = bytearray(400)
    count = len(raws)
    while count and raws[count - 1] is None:
        count -= 1
    buffer[0] = 0x84 + count
    pos = 1
    for number in (kind, seq, t, status):
        pos = put_int(buffer, pos, number)
    for raw in raws[:count]:
        if raw is None or raw is UNDEFINED:
            buffer[pos] = 0xF6 if raw is None else 0xF7
            pos += 1
        else:
            pos = put_int(buffer, pos, raw)
    return bytes(buffer[:pos])


def run_of(kind, seq, t, status, dt, rows):
    """Return the open frames of records that go together; `status` is one, or a list of them."""
    statuses = status if isinstance(status, list) else [status] * len(rows)
    return [open_frame(kind, seq + i, t + i * dt, statuses[i], raws) for i, raws in enumerate(rows)]


def pack(frames, limit=240, packer=None):
    """Return `(payload, last)` for frames numbered from 0 on."""
    buffer = bytearray(limit)
    packer = packer or Packer()
    size, last = packer.pack(buffer, limit, iter(enumerate(frames)), _frame_of)
    return bytes(buffer[:size]), last


def _column(chance, n, low, high):
    # One field's values: still, walking in fine or coarse steps, anywhere, or at the ends.
    how = chance.below(6)
    step = (1, 10, 1, 300, 1, 0)[how]
    if how == 3:
        step = max(1, (high - low) // 40)
    value = low + chance.below(high - low + 1)
    if chance.below(2):
        value = min(high, max(low, chance.below(600)))
    values = []
    for _ in range(n):
        if how == 4:
            value = low + chance.below(high - low + 1)
        elif how == 2 and chance.below(4) == 0:
            value = (low, high, min(high, max(low, 0)))[chance.below(3)]
        else:
            value += step * (chance.below(7) - 3)
            value = min(high, max(low, value))
        values.append(value)
    gaps = (0, 0, 0, 2, 9, 100)[chance.below(6)]
    kind = chance.below(3)
    for i in range(n):
        if gaps and chance.below(gaps if gaps < 100 else 1) == 0:
            values[i] = (None, UNDEFINED, None if chance.below(2) else UNDEFINED)[kind]
    return values


def random_run(chance):
    """Return `(kind, seq, t, status, dt, rows)` of records that go together."""
    kinds = sorted(RECORDS)
    kind = kinds[chance.below(len(kinds))]
    n = (2, 1, 2, 3, 2, 4, 2, 3, 9, 64)[chance.below(9 + (chance.below(40) == 0))]
    dt = (0, 1, 60, 300, 3600)[chance.below(5)]
    t = NOON + chance.below(100000)
    if chance.below(4) == 0:
        t = -1 - n * dt - chance.below(100000)
    seq = (0, 23, 254, 12345, 65530, 0xFFFFFFFF - 63)[chance.below(6)]
    statuses = [0, 1, 5, 63, 0xFFFF]
    status = statuses[chance.below(5)]
    if chance.below(3) == 0:
        status = [statuses[chance.below(1 + chance.below(5))] for _ in range(n)]
    columns = []
    for row in RECORDS[kind][1]:
        columns.append(_column(chance, n, row[5] - row[4], row[6] - row[4]))
    return kind, seq, t, status, dt, [[column[i] for column in columns] for i in range(n)]


def batches(rounds, seed):
    """Yield `(run, payload)`; what is packed is the run's first records."""
    chance = Chance(seed)
    packer = Packer()
    for _ in range(rounds):
        run = random_run(chance)
        limit = (40, 51, 115, 222, 4000, 4000, 4000)[chance.below(7)]
        yield run, pack(run_of(*run), limit, packer)[0]


def allocated():
    """Return the bytes that packing 4, 12 and 24 records takes of MicroPython's heap."""
    import gc

    taken = []
    packer = Packer()
    buffer = bytearray(400)
    for n in (4, 12, 24):
        rows = [[2137 + 31 * i % 7, None, 1325 - i, 212 + i % 5, UNDEFINED] for i in range(n)]
        entries = list(enumerate(run_of(1, 7, NOON, 1, 300, rows)))
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        packer.pack(buffer, 400, entries, _frame_of)
        taken.append(gc.mem_alloc() - before)
        gc.enable()
    return taken


def _frame_of(entry):
    return entry[1]


def tell():
    """Print the payloads of 10,000 random runs in hex, one a line; return how many."""
    count = 0
    for _, payload in batches(ROUNDS, SEED):
        print(binascii.hexlify(payload).decode())
        count += 1
    return count
