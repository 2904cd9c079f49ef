"""Times and heap of encoding on MicroPython, beside `json.dumps` of the same records."""

import gc
import json
import time

from citynode.wire import frame
from citynode.wire.batch import Packer

ROUNDS = 200


def cost(call, records):
    """Return microseconds and bytes of heap per record."""
    call()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    call()
    taken = gc.mem_alloc() - before
    gc.enable()
    start = time.ticks_us()
    for _ in range(ROUNDS):
        call()
    spent = time.ticks_diff(time.ticks_us(), start)
    return spent / ROUNDS / records, taken / records


def told(runs):
    """Return, by kind, what `json.dumps`, an open frame and a batch cost, as JSON."""
    return json.dumps({kind: _costs(kind, run) for kind, run in runs.items()})


def _costs(kind, run):
    packer = Packer()
    buffer = bytearray(300)
    entries = [(record[0], frame.encode(kind, *record)) for record in run]
    seq, t, status, values = run[0]
    document = dict(values)
    document.update({"seq": seq, "t": t, "status": status})
    return {
        "json": cost(lambda: json.dumps(document), 1),
        "open": cost(lambda: frame.encode_into(buffer, kind, seq, t, status, values), 1),
        "batch": cost(lambda: packer.pack(buffer, 300, entries, _second), len(run)),
    }


def _second(entry):
    return entry[1]
