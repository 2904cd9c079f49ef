"""AES and CMAC for the tests: of `cryptography` on CPython, of `cryptolib` on MicroPython.

`aes_ecb` is what the firmware is given; the rest is for the network's side and shares no code
with the firmware.
"""

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.cmac import CMAC

    def aes_ecb(key):
        """Return a block function with the firmware's interface."""
        update = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor().update

        def encrypt(source, target):
            target[:] = update(source)

        return encrypt

    def encrypt(key, data):
        """Return the ECB encryption of whole blocks."""
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)

    def decrypt(key, data):
        """Return the ECB decryption of whole blocks."""
        return Cipher(algorithms.AES(key), modes.ECB()).decryptor().update(data)

    def cmac(key, data):
        """Return the AES-CMAC."""
        mac = CMAC(algorithms.AES(key))
        mac.update(data)
        return mac.finalize()

except ImportError:
    import cryptolib

    def aes_ecb(key):
        """Return a block function with the firmware's interface."""
        return cryptolib.aes(key, 1).encrypt

    def encrypt(key, data):
        """Return the ECB encryption of whole blocks."""
        return cryptolib.aes(key, 1).encrypt(data)

    def decrypt(key, data):
        """Return the ECB decryption of whole blocks."""
        return cryptolib.aes(key, 1).decrypt(data)

    def _doubled(number):
        number <<= 1
        return number ^ (1 << 128 | 0x87) if number >> 128 else number

    def cmac(key, data):
        """Return the AES-CMAC, with the state as one big integer."""
        subkey = _doubled(int.from_bytes(encrypt(key, bytes(16)), "big"))
        if len(data) % 16 or not data:
            subkey = _doubled(subkey)
            data = data + b"\x80" + bytes(15 - len(data) % 16)
        state = 0
        for at in range(0, len(data), 16):
            state ^= int.from_bytes(data[at : at + 16], "big")
            if at + 16 == len(data):
                state ^= subkey
            state = int.from_bytes(encrypt(key, state.to_bytes(16, "big")), "big")
        return state.to_bytes(16, "big")
