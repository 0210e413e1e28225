"""What may become of the bytes of a file."""

from __future__ import annotations


def emptied(data):
    return b""


def cut(data):
    return data[: len(data) // 2]


def lengthened(data):
    return data + b"more"


def turned(data):
    """Every 97th byte turned over: machine code, names and lengths alike."""
    return bytes(byte ^ 0xFF if i % 97 == 50 else byte for i, byte in enumerate(data))


def one_bit_turned(data):
    at = len(data) * 2 // 3
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES = [emptied, cut, lengthened, turned, one_bit_turned, lambda data: data[::-1]]
