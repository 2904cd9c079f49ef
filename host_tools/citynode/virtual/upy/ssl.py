"""`ssl` of the ESP32 port, over the interpreter's own mbedTLS."""

from _native import tls as _tls

CERT_NONE = _tls.CERT_NONE
CERT_OPTIONAL = _tls.CERT_OPTIONAL
CERT_REQUIRED = _tls.CERT_REQUIRED
MBEDTLS_VERSION = _tls.MBEDTLS_VERSION
PROTOCOL_TLS_CLIENT = _tls.PROTOCOL_TLS_CLIENT
PROTOCOL_TLS_SERVER = _tls.PROTOCOL_TLS_SERVER
PROTOCOL_DTLS_CLIENT = _tls.PROTOCOL_DTLS_CLIENT
PROTOCOL_DTLS_SERVER = _tls.PROTOCOL_DTLS_SERVER


def _contents(source):
    """Return a file's bytes for its name; bytes are taken as they are."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            return file.read()
    return source


class SSLContext:
    """What a connection is checked by; checks nothing until `verify_mode` says so."""

    def __init__(self, protocol):
        self._context = _tls.SSLContext(protocol)
        self._context.verify_mode = CERT_NONE

    @property
    def verify_mode(self):
        return self._context.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        self._context.verify_mode = mode

    def get_ciphers(self):
        return self._context.get_ciphers()

    def set_ciphers(self, ciphers):
        self._context.set_ciphers(ciphers)

    def load_cert_chain(self, certfile, keyfile):
        self._context.load_cert_chain(_contents(certfile), _contents(keyfile))

    def load_verify_locations(self, cafile=None, cadata=None):
        self._context.load_verify_locations(_contents(cafile) if cafile else cadata)

    def wrap_socket(
        self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        return self._context.wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            server_hostname=server_hostname,
        )


def wrap_socket(
    sock,
    server_side=False,
    key=None,
    cert=None,
    cert_reqs=CERT_NONE,
    cadata=None,
    server_hostname=None,
    do_handshake=True,
):
    context = SSLContext(PROTOCOL_TLS_SERVER if server_side else PROTOCOL_TLS_CLIENT)
    if cert or key:
        context.load_cert_chain(cert, key)
    if cadata:
        context.load_verify_locations(cadata=cadata)
    context.verify_mode = cert_reqs
    return context.wrap_socket(sock, server_side, do_handshake, server_hostname)
