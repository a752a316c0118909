"""A small language pair: dates as people write them, and ISO 8601. What the examples of sequence to sequence translate.

    python examples/dates.py
"""

from __future__ import annotations

import datetime
import random
from pathlib import Path

import numpy as np

from tgraph.models.seq2seq import Seq2Seq

SOURCE = " abcdefghijklmnopqrstuvwxyz0123456789,./"
TARGET = "0123456789-"
BEGIN, END = 0, 1  # numbers 0 and 1 of the target; 0 of the source is padding
SIZES = {"source_vocab": len(SOURCE) + 1, "target_vocab": len(TARGET) + 2, "dim": 32, "hidden": 96}
FIRST, DAYS = datetime.date(1900, 1, 1), 73049  # up to the last day of 2099
FORMATS = ("{weekday} {day} {month} {year}", "{weekday}, {month} {day}, {year}", "{day} {month} {year}", "{month} {day}, {year}",
           "the {nth} of {month}, {year}", "{day} {mon} {year}", "{mon} {day}, {year}", "{day}.{number}.{year}",
           "{year}/{number}/{day}")


def write(date: datetime.date, form: str) -> str:
    """A date as people write it: `saturday 3 may 1998`."""
    ending = "th" if 10 < date.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
    return form.format(weekday=f"{date:%A}".lower(), day=date.day, nth=f"{date.day}{ending}", month=f"{date:%B}".lower(),
                       mon=f"{date:%b}".lower(), number=date.month, year=date.year)


def held_out(date: datetime.date) -> bool:
    """Whether a date, in any format, is for the test alone: every tenth or so, by its digits."""
    return date.toordinal() * 2654435761 % 2**32 % 10 == 0


def pairs(count: int, seed: int, test: bool) -> list[tuple[str, str]]:
    """Dates in a random format and in ISO 8601, of the test or of the training set."""
    generator = random.Random(seed)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        date = FIRST + datetime.timedelta(days=generator.randrange(DAYS))
        if held_out(date) == test:
            found.append((write(date, generator.choice(FORMATS)), date.isoformat()))
    return found


def numbers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sources as numbers i64 [B, S] and their mask bool [B, S]. Raises ValueError for a character that there is not."""
    length = max(map(len, texts))
    ids = np.array([[SOURCE.index(c) + 1 for c in text] + [0] * (length - len(text)) for text in texts], np.int64)
    return ids, ids > 0


def targets(texts: list[str]) -> np.ndarray:
    """Targets as numbers i64 [B, T + 1], with END behind them."""
    return np.array([[TARGET.index(c) + 2 for c in text] + [END] for text in texts], np.int64)


def text_of(tokens: list[int]) -> str:
    """What a decoder wrote."""
    return "".join(TARGET[t - 2] for t in tokens if t > END)


def load(attention: str | None) -> Seq2Seq:
    """The trained model: `attention` is None or "additive"."""
    model = Seq2Seq(**SIZES, attention=attention)
    model.load_weights(Path(__file__).with_name(f"dates_{attention or 'plain'}.safetensors"), cast=True)
    return model


if __name__ == "__main__":
    for human, iso in pairs(8, seed=0, test=True):
        print(f"{human:<32} {iso}")
