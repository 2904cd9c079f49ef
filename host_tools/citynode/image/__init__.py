"""The formats of a flash image, both ways: bytes out, bytes in, no ports."""
