"""`umqtt.simple`: a client of MQTT 3.1.1 (OASIS standard) without retries."""

import socket
import struct

_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 0x10, 0x20, 0x30, 0x40
_SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = 0x82, 0x90, 0xC0, 0xD0, 0xE0


class MQTTException(Exception):
    """The broker has refused or was not understood; the argument is its code."""


def _text(value):
    data = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack("!H", len(data)) + data


class MQTTClient:
    """One connection to a broker."""

    def __init__(
        self,
        client_id,
        server,
        port=0,
        user=None,
        password=None,
        keepalive=0,
        ssl=None,
        ssl_params={},
    ):
        self.client_id = client_id
        self.server = server
        self.port = port or (8883 if ssl else 1883)
        self.user = user
        self.pswd = password
        self.keepalive = keepalive
        self.ssl = ssl
        self.ssl_params = ssl_params
        self.sock = None
        self.pid = 0
        self.cb = None
        self.lw_topic = None
        self.lw_msg = None
        self.lw_qos = 0
        self.lw_retain = False

    def set_callback(self, f):
        self.cb = f

    def set_last_will(self, topic, msg, retain=False, qos=0):
        if not 0 <= qos <= 2 or not topic:
            raise ValueError("a will needs a topic and a quality of service of 0 to 2")
        self.lw_topic = topic
        self.lw_msg = msg
        self.lw_qos = qos
        self.lw_retain = retain

    def connect(self, clean_session=True, timeout=None):
        """Connect, and return whether the broker still has a session."""
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        self.sock.connect(socket.getaddrinfo(self.server, self.port)[0][-1])
        if self.ssl is True:
            import ssl

            self.sock = ssl.wrap_socket(self.sock, **self.ssl_params)
        elif self.ssl:
            self.sock = self.ssl.wrap_socket(self.sock, server_hostname=self.server)
        flags = 2 if clean_session else 0
        payload = _text(self.client_id)
        if self.lw_topic:
            flags |= 4 | (self.lw_qos & 3) << 3 | bool(self.lw_retain) << 5
            payload += _text(self.lw_topic) + _text(self.lw_msg)
        if self.user is not None:
            flags |= 0xC0
            payload += _text(self.user) + _text(self.pswd)
        head = _text("MQTT") + struct.pack("!BBH", 4, flags, self.keepalive)
        self._send(_CONNECT, head + payload)
        kind, answer = self._receive()
        if kind != _CONNACK or len(answer) != 2:
            raise MQTTException(-1)
        if answer[1]:
            raise MQTTException(answer[1])
        return answer[0] & 1

    def disconnect(self):
        self._send(_DISCONNECT, b"")
        self.sock.close()

    def ping(self):
        self._send(_PINGREQ, b"")

    def publish(self, topic, msg, retain=False, qos=0):
        if qos not in (0, 1):
            raise ValueError("quality of service 0 or 1")
        head = _text(topic)
        if qos:
            self.pid = self.pid % 0xFFFF + 1
            head += struct.pack("!H", self.pid)
        data = msg.encode() if isinstance(msg, str) else bytes(msg)
        self._send(_PUBLISH | qos << 1 | bool(retain), head + data)
        if qos:
            pid = self.pid
            while self._handle(*self._receive()) != (_PUBACK, pid):
                pass

    def subscribe(self, topic, qos=0):
        if self.cb is None:
            raise ValueError("there is no callback")
        self.pid = pid = self.pid % 0xFFFF + 1
        self._send(_SUBSCRIBE, struct.pack("!H", pid) + _text(topic) + bytes([qos]))
        while True:
            kind, payload = self._receive()
            if kind == _SUBACK:
                if payload[2] == 0x80:
                    raise MQTTException(payload[2])
                return
            self._handle(kind, payload)

    def wait_msg(self):
        """Take one message of the broker, waiting for it; return None if it was a publication."""
        self.sock.setblocking(True)
        kind, payload = self._receive()
        if kind is None:
            return None
        handled = self._handle(kind, payload)
        return handled and handled[0]

    def check_msg(self):
        """Take one message if there is one."""
        self.sock.setblocking(False)
        return self.wait_msg() if self._first() else None

    # -- the wire -------------------------------------------------------------------------------

    _ahead = b""

    def _first(self):
        """Return whether a message has begun, and keep its first byte."""
        if not self._ahead:
            data = self.sock.read(1)
            if data == b"":
                raise OSError(-1)
            self._ahead = data or b""
        return bool(self._ahead)

    def _send(self, kind, payload):
        length = len(payload)
        head = bytearray([kind])
        while True:
            length, digit = length >> 7, length & 0x7F
            head.append(digit | 0x80 if length else digit)
            if not length:
                break
        self.sock.write(head + payload)

    def _exactly(self, size):
        data = self.sock.read(size)
        if data is None or len(data) < size:
            raise OSError(-1)
        return data

    def _receive(self):
        kind, self._ahead = self._ahead, b""
        if not kind:
            kind = self.sock.read(1)
            if kind is None:
                return None, b""
            if not kind:
                raise OSError(-1)
        self.sock.setblocking(True)
        length = shift = 0
        while True:
            digit = self._exactly(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                break
        return kind[0], self._exactly(length) if length else b""

    def _handle(self, kind, payload):
        """Answer what the broker has sent; return what is nothing to answer."""
        if kind == _PINGRESP:
            return None
        if kind == _PUBACK:
            return _PUBACK, struct.unpack("!H", payload[:2])[0]
        if kind & 0xF0 != _PUBLISH:
            return kind, None
        at = 2 + struct.unpack("!H", payload[:2])[0]
        topic = payload[2:at]
        qos = kind >> 1 & 3
        pid = payload[at : at + 2] if qos else b""
        self.cb(topic, payload[at + len(pid) :])
        if qos == 1:
            self._send(_PUBACK, pid)
        return None
