"""The network's side, small and strict: it accepts what TS001 allows and asserts the rest.

It is written from the specification over `lorawan_cipher` and imports nothing of the firmware.
"""

from lorawan_cipher import cmac, decrypt, encrypt

UNCONFIRMED_DOWN = 0x60
CONFIRMED_DOWN = 0xA0


def little(number, size):
    """Return an integer's octets as they are on the air."""
    return number.to_bytes(size, "little")


def frequency(hz):
    """Return a frequency as MAC commands have it."""
    return little(hz // 100, 3)


def crypt(key, data, direction, dev_addr, fcnt):
    """Return an FRMPayload encrypted or decrypted."""
    out = b""
    for number in range((len(data) + 15) // 16):
        a = b"\x01\0\0\0\0" + bytes((direction,)) + dev_addr + little(fcnt, 4)
        stream = encrypt(key, a + b"\0" + bytes((number + 1,)))
        part = data[16 * number : 16 * number + 16]
        out += bytes([part[i] ^ stream[i] for i in range(len(part))])
    return out


def mic(key, message, direction, dev_addr, fcnt):
    """Return the MIC of a data frame."""
    b0 = b"\x49\0\0\0\0" + bytes((direction,)) + dev_addr + little(fcnt, 4)
    return cmac(key, b0 + b"\0" + bytes((len(message),)) + message)[:4]


class Uplink:
    """A data frame that was heard and is right."""

    def __init__(self, message, fcnt, options, port, payload):
        self.confirmed = message[0] == 0x80
        self.adr = bool(message[5] & 0x80)
        self.adr_ack_req = bool(message[5] & 0x40)
        self.ack = bool(message[5] & 0x20)
        self.fcnt = fcnt
        self.options = options
        self.port = port
        self.payload = payload


class Network:
    """One device's network and join server. EUIs and keys are as printed.

    `nonces` are all DevNonces that were heard, `frames` the frames of this session by FCntUp,
    `last_up` the highest of these. A counter is taken for the next one that ends in the 16 bits
    on the air, so that the MIC of a frame that uses one again is wrong; a repetition is told from
    that by its bytes.
    """

    def __init__(self, dev_eui, join_eui, app_key):
        self.dev_eui = dev_eui
        self.join_eui = join_eui
        self.app_key = app_key
        self.net_id = 0x000013
        self.join_nonce = 0
        self.nonces = []
        self.dev_addr = b""
        self.nwk = b""
        self.app = b""
        self.next_down = 0
        self.last_up = -1
        self.frames = {}
        self.uplinks = []

    def hear(self, phy):
        """Take an uplink; return "join", "repeated" or an Uplink. Asserts that it is right."""
        if phy[0] == 0x00:
            return self._hear_join(phy)
        assert phy[0] in (0x40, 0x80), phy[0]
        assert phy[1:5] == self.dev_addr
        message = phy[:-4]
        low = phy[6] | phy[7] << 8
        last = self.last_up
        if self.frames.get(last) == phy:
            return "repeated"
        fcnt = last + 1 + (low - last - 1) % 0x10000
        assert phy[-4:] == mic(self.nwk, message, 0, self.dev_addr, fcnt), "MIC"
        self.last_up = fcnt
        self.frames[fcnt] = phy
        n = phy[5] & 0x0F
        assert not phy[5] & 0x10, "class B"
        options = message[8 : 8 + n]
        rest = message[8 + n :]
        port = rest[0] if rest else None
        key = self.app if port else self.nwk
        payload = crypt(key, rest[1:], 0, self.dev_addr, fcnt)
        assert port != 0 or (not options and payload)
        heard = Uplink(message, fcnt, options, port, payload)
        self.uplinks.append(heard)
        return heard

    def _hear_join(self, phy):
        assert len(phy) == 23
        assert phy[1:9] == bytes(reversed(self.join_eui))
        assert phy[9:17] == bytes(reversed(self.dev_eui))
        assert phy[19:] == cmac(self.app_key, phy[:19])[:4]
        nonce = phy[17] | phy[18] << 8
        assert not self.nonces or nonce > self.nonces[-1], "DevNonce"
        self.nonces.append(nonce)
        return "join"

    def accept(self, settings=0x00, rx_delay=1, cflist=b"", dev_addr=0x26012E43, join_nonce=None):
        """Return a join accept for the last request, and begin the session."""
        if join_nonce is None:
            self.join_nonce += 1
            join_nonce = self.join_nonce
        nonces = little(join_nonce, 3) + little(self.net_id, 3)
        tail = nonces + little(self.nonces[-1], 2) + bytes(7)
        self.nwk = encrypt(self.app_key, b"\x01" + tail)
        self.app = encrypt(self.app_key, b"\x02" + tail)
        self.dev_addr = little(dev_addr, 4)
        self.next_down = 0
        self.last_up = -1
        self.frames = {}
        self.uplinks = []
        body = nonces + self.dev_addr + bytes((settings, rx_delay)) + cflist
        message = b"\x20" + body
        return b"\x20" + decrypt(self.app_key, body + cmac(self.app_key, message)[:4])

    def down(
        self,
        port=None,
        payload=b"",
        options=b"",
        confirmed=False,
        ack=False,
        pending=False,
        fcnt=None,
    ):
        """Return a downlink with the next counter, or with another one."""
        if fcnt is None:
            fcnt = self.next_down
        self.next_down = fcnt + 1
        control = (0x20 if ack else 0) | (0x10 if pending else 0) | len(options)
        message = bytes((CONFIRMED_DOWN if confirmed else UNCONFIRMED_DOWN,)) + self.dev_addr
        message += bytes((control,)) + little(fcnt & 0xFFFF, 2) + options
        if port is not None:
            key = self.app if port else self.nwk
            message += bytes((port,)) + crypt(key, payload, 1, self.dev_addr, fcnt)
        return message + mic(self.nwk, message, 1, self.dev_addr, fcnt)

    def commands(self, commands):
        """Return a downlink that carries MAC commands, in FOpts or on port 0 as they fit."""
        if len(commands) <= 15:
            return self.down(options=commands)
        return self.down(0, commands)


def cflist(*frequencies_hz):
    """Return a CFList of type 0."""
    out = b""
    for hz in frequencies_hz:
        out += frequency(hz)
    return out + bytes(16 - len(out))
