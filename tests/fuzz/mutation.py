"""Small changes to octets, drawn from a seeded source of chance."""

import random
from collections.abc import Callable, Sequence

LENGTH_MAX = 4096
INTERESTING = (0x00, 0x01, 0x1F, 0x20, 0x22, 0x2C, 0x3D, 0x5C, 0x7B, 0x7D, 0x7F, 0x80, 0xFF)

Mutation = Callable[[bytes, random.Random], bytes]


def place(data: bytes, source: random.Random) -> int:
    return source.randrange(len(data) + 1)


def truncate(data: bytes, source: random.Random) -> bytes:
    return data[: place(data, source)]


def behead(data: bytes, source: random.Random) -> bytes:
    return data[place(data, source) :]


def flip_a_bit(data: bytes, source: random.Random) -> bytes:
    if not data:
        return data
    at = source.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]


def replace_an_octet(data: bytes, source: random.Random) -> bytes:
    at = place(data, source)
    octet = source.choice((source.randrange(256), source.choice(INTERESTING)))
    return data[:at] + bytes([octet]) + data[at + 1 :]


def insert(data: bytes, source: random.Random) -> bytes:
    at = place(data, source)
    return data[:at] + source.randbytes(source.randrange(1, 5)) + data[at:]


def cut_out(data: bytes, source: random.Random) -> bytes:
    first, last = sorted((place(data, source), place(data, source)))
    return data[:first] + data[last:]


def repeat(data: bytes, source: random.Random) -> bytes:
    first, last = sorted((place(data, source), place(data, source)))
    return data[:last] + data[first:last] + data[last:]


MUTATIONS: tuple[Mutation, ...] = (
    truncate,
    behead,
    flip_a_bit,
    flip_a_bit,
    replace_an_octet,
    replace_an_octet,
    insert,
    cut_out,
    repeat,
)


def mutated(
    data: bytes,
    source: random.Random,
    tokens: Sequence[bytes] = (),
    others: Sequence[bytes] = (),
) -> bytes:
    """Change `data` in one to four ways.

    Args:
        data: what to change.
        source: of chance.
        tokens: pieces to put in now and then.
        others: inputs whose end may replace that of `data`.
    """
    for _ in range(source.randrange(1, 5)):
        chance = source.random()
        if tokens and chance < 0.25:
            at = place(data, source)
            data = data[:at] + source.choice(tokens) + data[at + source.randrange(3) :]
        elif others and chance < 0.35:
            data = truncate(data, source) + behead(source.choice(others), source)
        else:
            data = source.choice(MUTATIONS)(data, source)
    return data[:LENGTH_MAX]
