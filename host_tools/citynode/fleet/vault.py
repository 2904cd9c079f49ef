"""Secrets of a fleet: encrypted, bound to their node, and told apart without being read."""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE = 32
_NONCE_SIZE = 12
_MARK_SIZE = 16


class SealError(Exception):
    """What was to be opened was not sealed with this key for this owner; says nothing of it."""


class Vault:
    """Seals and opens secrets with one key of 32 bytes, which shows in no repr.

    AES-256-GCM (NIST SP 800-38D) with random nonces; what it works with and the key's public name
    come of the given key by HKDF (RFC 5869), so that neither tells of the other. Raises ValueError
    for a key of another size.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError("a fleet's key has 32 bytes")
        self._seal = AESGCM(_derive(key, b"seal", 32))
        self.key_id = key_name(key)

    def __repr__(self) -> str:
        return f"Vault({self.key_id})"

    def seal(self, secret: bytes, owner: bytes) -> bytes:
        """Return the secret encrypted, to be opened for this owner alone."""
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + self._seal.encrypt(nonce, secret, owner)

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """Return the secret; raises SealError if key, owner or a single bit is another."""
        try:
            return self._seal.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], owner)
        except (InvalidTag, ValueError):
            raise SealError from None


def mark(key: bytes, secret: bytes) -> bytes:
    """Return 16 bytes that are equal for equal secrets, and tell nothing without the key."""
    return hmac.digest(key, secret, "sha256")[:_MARK_SIZE]


def key_name(key: bytes) -> str:
    """Return what a key is called: 12 hex digits, no secret."""
    return hashlib.sha256(_derive(key, b"name", 32)).hexdigest()[:12]


def _derive(key: bytes, purpose: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=b"citynode fleet", info=purpose).derive(key)
