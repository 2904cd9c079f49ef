"""What `socket` has in real and in virtual time alike: the names of the port, and its addresses."""

AF_INET = 2
AF_INET6 = 10
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_RAW = 3
IPPROTO_IP = 0
IPPROTO_TCP = 6
IPPROTO_UDP = 17
SOL_SOCKET = 0xFFF
SO_REUSEADDR = 4
SO_BROADCAST = 0x20
SO_BINDTODEVICE = 0x100B
IP_ADD_MEMBERSHIP = 3
TCP_NODELAY = 1


def _is_ip(host):
    parts = host.split(".")
    return len(parts) == 4 and all([p.isdigit() and int(p) < 256 for p in parts])


def _info(host, ip, port, kind, proto):
    """Return what `getaddrinfo` says of a host whose address is known."""
    kind = kind or SOCK_STREAM
    protocol = proto or (IPPROTO_UDP if kind == SOCK_DGRAM else IPPROTO_TCP)
    return [(AF_INET, kind, protocol, host, (ip, port))]
