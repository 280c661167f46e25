"""Changes to a file that parsers stumble over: in its bytes, its numbers and its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

MOST_BYTES = 1 << 16
_NUMBERS = [
    0, 1, 2, 7, 8, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62,
    2**63 - 1, 2**63, 2**64 - 1,
]  # fmt: skip
_WORDS = [
    b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-0.0", b"9" * 30, b'""', b"[]", b"{}",
    b"[[[[[[", b'{"a":{"a":', b"\\u0000", b"\\ud800", b"../", b"/", b"\0", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xf0\x9f\x92\xa9", b"&a", b"*a", b"!!python/object", b"${x}", b"%s%n",
    b"file:///etc/passwd", b"http://[::1]/", b"\r\n", b"\n---\n", b"a" * 300,
]  # fmt: skip
_TOKEN = re.compile(rb'"[^"]{0,200}"|-?\d[\d.eE+-]{0,30}|[A-Za-z_]{2,40}|[\[\]{}:,\n]')


def mutate(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The data after one to eight changes; now and then parts come from another file."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 5, 8))):
        random.choice(_CHANGES)(changed, others, random)
    return bytes(changed[:MOST_BYTES])


def _place(data: bytearray, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _flip(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _byte(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 1, 127, 128, 255, 10, 34, 123))


def _number(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    size = random.choice((1, 2, 4, 8))
    value = random.choice(_NUMBERS) % (1 << 8 * size)
    at = _place(data, random)
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _nudge(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    """A number a little larger or smaller."""
    size = random.choice((1, 2, 4, 8))
    at = _place(data, random)
    found = int.from_bytes(data[at : at + size], "little") + random.choice((-2, -1, 1, 2, 8))
    data[at : at + size] = (found % (1 << 8 * size)).to_bytes(size, "little")


def _word(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    data[at:at] = random.choice(_WORDS)


def _token(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    """One word, number or sign replaced by another, or by one of the same file."""
    found = list(_TOKEN.finditer(bytes(data)))
    if found:
        begin, end = random.choice(found).span()
        data[begin:end] = random.choice((random.choice(_WORDS), random.choice(found)[0]))


def _cut(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 8, 64, 512, len(data)))]


def _repeat(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    part = data[at : at + random.choice((1, 4, 16, 64, 512))]
    data[at:at] = part * random.choice((1, 2, 16, 256))
    del data[MOST_BYTES:]


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    other = random.choice(others)
    at, begin = _place(data, random), random.randrange(len(other) + 1)
    part = other[begin : begin + random.choice((4, 16, 64, 512))]
    data[at : at + random.choice((0, len(part)))] = part


_CHANGES = (
    _flip, _byte, _number, _nudge, _word, _token, _token, _cut, _repeat, _splice,
)  # fmt: skip
