"""Changes to bytes and to values of JSON, for inputs that are nearly right."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, -1, 2, 64, 255, 2**31 - 1, 2**31, 2**32, 2**60, 2**63 - 1, 2**63, 2**64, -2**63, 10**9, 10**400, 0.5, 1e308,
           float("inf"), float("nan"))
TEXTS = ("", "x", "../x", "/etc/passwd", "\0", "\ud800", "é", "%0", "f32", "a" * 300, "nan", "1e999", "__class__", "{0}", "\n")


def mutate_bytes(data: bytes, random: Random, tokens: Sequence[bytes] = ()) -> bytes:
    """One to four changes: bits, bytes, slices moved, left out, repeated, tokens put in."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(found) + 1)
        length = min(random.choice((1, 2, 4, 8, 16, 64)), len(found) - at)
        part, way = bytes(found[at:at + length]), random.randrange(7)
        if way == 0 and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif way == 1 and at < len(found):
            found[at] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
        elif way == 2:
            del found[at:at + length]
        elif way == 3:
            found[at:at] = part * random.choice((1, 2, 50))
        elif way == 4:
            other = random.randrange(len(found) + 1)
            found[other:other] = part
        elif way == 5:
            found[at:at + length] = random.randrange(256**length).to_bytes(length, "little")
        elif tokens:
            found[at:at + random.choice((0, length))] = random.choice(tokens)
    return bytes(found)


def mutate_words(data: bytes, random: Random, words: Sequence[str] = ()) -> bytes:
    """Words and marks of a text exchanged, doubled, left out or replaced; now and then just bytes."""
    if random.random() < 0.3:
        return mutate_bytes(data, random)
    parts = _split(data.decode(errors="replace"))
    for _ in range(random.choice((1, 1, 2, 4))):
        if not parts:
            break
        at, other = random.randrange(len(parts)), random.randrange(len(parts))
        way = random.randrange(6)
        if way == 0:
            parts[at] = parts[other]
        elif way == 1:
            del parts[at]
        elif way == 2:
            parts[at:at] = parts[other:other + random.choice((1, 3, 10))]
        elif way == 3:
            parts[at] = str(random.choice(NUMBERS))
        elif way == 4 and words:
            parts[at] = random.choice(words)
        else:
            parts[at], parts[other] = parts[other], parts[at]
    return "".join(parts).encode(errors="surrogatepass")


def _split(text: str) -> list[str]:
    import re

    return re.findall(r"\w+|\s+|.", text)


def mutate_json(data: bytes, random: Random) -> bytes:
    """A value somewhere in JSON changed; bytes now and then, and where it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, random)
    if random.random() < 0.15:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 2))):
        value = mutate_value(value, random)
    return json.dumps(value).encode()


def mutate_value(value: Any, random: Random) -> Any:
    """A value of JSON in which one part is something else."""
    places = list(_places(value))
    if not places or random.random() < 0.02:
        return _other(value, random, value)
    holder, key = random.choice(places)
    way = random.randrange(8)
    if way == 0 and isinstance(holder, dict):
        del holder[key]
    elif way == 1 and isinstance(holder, list):
        holder.insert(key, holder[random.randrange(len(holder))])
    elif way == 2 and isinstance(holder, dict):
        holder[random.choice((*TEXTS, str(key) + "x"))] = holder[key]
    elif way == 3:
        other, name = random.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    else:
        holder[key] = _other(holder[key], random, value)
    return value


def _places(value: Any) -> Any:
    stack = [value]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            stack.append(holder[key])


def _other(value: Any, random: Random, whole: Any) -> Any:
    """Something else than a value: of its own type more often than not."""
    if random.random() < 0.6:
        if isinstance(value, bool):
            return not value
        if isinstance(value, (int, float)):
            return random.choice((*NUMBERS, value + 1, value - 1, -value, value * 2))
        if isinstance(value, str):
            return random.choice((*TEXTS, value + "x", value[1:], mutate_words(value.encode(errors="replace"), random).decode(
                errors="replace")))
    nested: Any = value
    for _ in range(random.choice((1, 1, 60))):
        nested = [nested]
    return random.choice((None, True, 7, -1, 0.5, "x", "", [], {}, ["x"], {"x": "y"}, nested, random.choice(NUMBERS),
                          random.choice(TEXTS)))
