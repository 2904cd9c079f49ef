"""Downlinks that nobody would send."""

from citynode.phy import crypto

# What changes the windows or the pauses is left out: it would only make the next frame unheard.
COMMANDS = {0x02: 2, 0x03: 4, 0x06: 0, 0x07: 5, 0x09: 1, 0x0D: 5, 0x10: 1, 0x13: 3, 0xFF: 0}


def garbage(rng, link):
    """Return bytes that are no frame for this node, of some kind."""
    good = link.downlink(link.f_cnt_down, f_port=rng.randrange(256), payload=rng.randbytes(9))
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(256))
    if kind == 1:  # a bit is wrong
        at = rng.randrange(8 * len(good))
        return good[: at // 8] + bytes((good[at // 8] ^ 1 << at % 8,)) + good[at // 8 + 1 :]
    if kind == 2:  # cut
        return good[: rng.randrange(len(good))]
    if kind == 3:  # longer
        return good + rng.randbytes(rng.randrange(1, 200))
    if kind == 4:  # an accept where none is expected
        return b"\x20" + rng.randbytes(rng.choice((16, 32)))
    return good[:5] + rng.randbytes(1) + good[6:-4] + rng.randbytes(4)


def odd(rng, link):
    """Return a frame of this network, with anything in it."""
    f_cnt = link.f_cnt_down
    link.f_cnt_down += 1
    size = rng.choice((0, 1, 3, 15, 40, 120, 200, 238))
    options = rng.choice((0, 0, 1, 5, 15, 15))
    control = rng.randrange(16) << 4 | options
    body = bytes((rng.choice((0x60, 0xA0, 0x7C, 0xBC)),)) + link.dev_addr.to_bytes(4, "little")
    body += bytes((control,)) + f_cnt.to_bytes(2, "little")
    data = b""
    while len(data) < 255:
        cid = rng.choice(list(COMMANDS))
        data += bytes((cid,)) + rng.randbytes(COMMANDS[cid] + (rng.randrange(16) == 0))
    if rng.randrange(3) == 0:
        body += data[: options if rng.randrange(4) else min(size, options)]
    else:
        port = rng.choice((0, 0, 0, 1, 10, 223, 225, 255))
        sealed = crypto.crypt(
            link.app if port else link.nwk, False, link.dev_addr, f_cnt, data[: min(size, 227)]
        )
        body += data[:options] + bytes((port,)) + sealed
    return body + crypto.data_mic(link.nwk, False, link.dev_addr, f_cnt, body)
