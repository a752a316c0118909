"""What is fuzzed: a parser with the file that it reads, sound files to begin with, and how these are changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.mutate import Mutator, mutate_bytes


@dataclass(frozen=True)
class Parser:
    """A parser under test.

    file: what the input is called, in a folder of its own, which `prepare` fills with what lies beside it. write: makes the file
    of an input, by default its bytes; where a checksum covers a file, the input is what it covers. seeds: sound inputs.
    accepts: whether all seeds are read without an error.
    """

    file: str
    read: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutator = mutate_bytes
    write: Callable[[Path, bytes], object] = Path.write_bytes
    prepare: Callable[[Path], object] = lambda folder: None
    accepts: bool = True
