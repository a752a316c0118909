"""Random damage to bundles and to entries of the compile cache."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import tgraph as tg
from targets.base.target import Target
from targets.runtime.cache import CacheEntry, CacheResult
from tests.faults.processes import model, place
from tests.targets.unmapped import no_code_is_mapped


class Loaded(BaseException):
    """Machine code was about to be loaded."""


def damaged(whole: bytes, flips: int, cuts: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The bytes with one bit changed, and cut off at random lengths, each with what was done."""
    choose = random.Random(seed)
    for _ in range(flips):
        at, bit = choose.randrange(len(whole)), choose.randrange(8)
        yield f"bit {bit} of byte {at}", whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1:]
    for length in (choose.randrange(len(whole)) for _ in range(cuts)):
        yield f"cut to {length} bytes", whole[:length]


def damage(flips: int, cuts: int, seed: int = 0) -> Counter[str]:
    """Damage a bundle and an entry of the cache. Returns how much was found before any code was loaded; raises AssertionError."""
    found = Counter[str]()
    with place() as where:
        where.enter()
        graph, bundle = model(), where.root / "x.tgc"
        tg.compile(graph).save(bundle, originals=True)
        entry, = where.cache.glob("*.tgc")
        with no_code_is_mapped(Loaded):
            for kind, path, refused in (("bundle", bundle, refused_bundle), ("cache entry", entry, refused_entry)):
                whole = path.read_bytes()
                assert not refused(path, graph), f"the sound {kind} was refused"
                for what, content in damaged(whole, flips, cuts, seed):
                    path.write_bytes(content)
                    assert refused(path, graph), f"{kind}: {what} was not found"
                    found[f"{kind}: {what.split()[0]}"] += 1
                path.write_bytes(whole)
    return found


Refused = Callable[[Path, tg.Graph], bool]


def refused_bundle(path: Path, graph: tg.Graph) -> bool:
    try:
        tg.load(path)
    except tg.FormatError:
        return True
    except Loaded:
        return False
    raise AssertionError("loading did not load")


def refused_entry(path: Path, graph: tg.Graph) -> bool:
    """Whether the cache warns of the entry and removes it, as it does before it has the graph compiled again."""
    entry = CacheEntry(path, Target.parse("cpu"), {}, CacheResult("miss", ""))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = entry.load(graph.weights)
        except Loaded:
            return False
    assert found is None and len(said) == 1 and "damaged entry" in str(said[0].message) and not path.exists(), said
    return True
