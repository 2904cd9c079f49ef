"""`socket` in virtual time: what the network does is up to `peer`, which a test sets."""

AF_INET, SOCK_STREAM, SOCK_DGRAM = 2, 1, 2

peer = None


def getaddrinfo(host, port, family=0, kind=0):
    return [(AF_INET, kind, 0, "", peer.look_up(host, port))]


class socket:  # noqa: N801
    def __init__(self, family, kind, protocol):
        self.kind = kind
        self.events = 0  # what `poll` says
        self.closed = False
        peer.sockets.append(self)

    def setblocking(self, flag):
        assert flag is False

    def connect(self, address):
        peer.connect(self, address)

    def sendto(self, data, address):
        peer.send(self, data, address)

    def recvfrom(self, size):
        return peer.receive(self, size)

    def close(self):
        self.closed = True
