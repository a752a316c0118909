"""Letters to phonemes: the encoder-decoder of GRUs in the PyPI package g2p-en, with its trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import nn
from ..ir.dims import dim
from ..ir.dtypes import bool_, f32, i64
from ..ir.errors import FormatError
from ..ir.types import TensorType
from ..tensor import Tensor

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
# ARPAbet: vowels, each with a stress from 0 to 2, and consonants
_VOWELS = ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"]
_CONSONANTS = ["B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V", "W",
               "Y", "Z", "ZH"]
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>",
            *sorted([*(f"{vowel}{stress}" for vowel in _VOWELS for stress in "012"), *_CONSONANTS, "UW"])]
START, STOP = PHONEMES.index("<s>"), PHONEMES.index("</s>")
MOST_PHONEMES = 20  # that the package writes for a word


class GraphemeToPhoneme(nn.Module):
    """A word's letters, read by one GRU, whose last state another begins with that writes phonemes (arXiv:1409.3215)."""

    def __init__(self, embedding: int = 256, hidden: int = 256):
        self.letters, self.phonemes = nn.Embedding(len(LETTERS), embedding), nn.Embedding(len(PHONEMES), embedding)
        self.encoder, self.decoder = nn.GRU(embedding, hidden), nn.GRU(embedding, hidden)
        self.output = nn.Linear(hidden, len(PHONEMES))
        self.state = nn.State(f32[dim("B"), hidden])

    def start(self, letters: Tensor, mask: Tensor) -> None:
        """Read words, letters i64 [B, S], each with </s> at its end; mask bool [B, S], False behind it."""
        _, state = self.encoder(self.letters(letters), mask=mask)
        self.state.value = state[0]

    def step(self, tokens: Tensor) -> Tensor:
        """Phonemes so far, i64 [B, T], the first time <s>, to scores [B, phonemes] for the next."""
        _, state = self.decoder(self.phonemes(tokens), self.state.value[None])
        self.state.value = state[0]
        return self.output(self.state.value)

    @property
    def specs(self) -> dict[str, dict[str, TensorType]]:
        """The inputs of its methods: `tg.trace_program(model, **model.specs)`."""
        batch, length, count = dim("B"), dim("S"), dim("T")
        return {"start": {"letters": i64[batch, length].range(0, len(LETTERS)), "mask": bool_[batch, length]},
                "step": {"tokens": i64[batch, count].range(0, len(PHONEMES))}}


def load_g2p(file: Path | None = None) -> GraphemeToPhoneme:
    """The trained model; file: checkpoint20.npz, by default that of the package g2p-en, which need not be importable.

    Raises FormatError and WeightsError for another file, and OSError if there is none.
    """
    model = GraphemeToPhoneme()
    file = _checkpoint() if file is None else file
    names = {"letters.weight": "enc_emb", "phonemes.weight": "dec_emb", "output.weight": "fc_w", "output.bias": "fc_b"}
    for ours, theirs in (("encoder", "enc"), ("decoder", "dec")):
        for name in ("w_ih", "w_hh", "b_ih", "b_hh"):
            names[f"{ours}.{name.replace('w_', 'weight_').replace('b_', 'bias_')}_l0"] = f"{theirs}_{name}"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            weights = {ours: arrays[theirs] for ours, theirs in names.items()}
    except OSError:
        raise
    except Exception as error:  # of NumPy, zipfile and zlib, for every kind of damage
        raise FormatError(f"{file} is no checkpoint of g2p-en, or is damaged: {error}") from None
    model.load_weights(weights)
    return model


def _checkpoint() -> Path:
    import importlib.util

    found = importlib.util.find_spec("g2p_en")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the weights of g2p-en come in a package of their own: pip install --no-deps g2p-en")
    return Path(found.submodule_search_locations[0]) / "checkpoint20.npz"


def encode_words(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Words as letters i64 [B, S] with </s> at their ends, and the mask bool [B, S]. Letters that it does not know are <unk>."""
    number = {letter: i for i, letter in enumerate(LETTERS)}
    rows = [[*(number.get(letter, 1) for letter in word), 2] for word in words]
    length = max(map(len, rows), default=0)
    mask = np.array([[i < len(row) for i in range(length)] for row in rows])
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int64), mask


def spell(tokens: Sequence[int]) -> str:
    """Phonemes as ARPAbet writes them, up to </s>."""
    kept = tokens[:tokens.index(STOP)] if STOP in tokens else tokens
    return " ".join(PHONEMES[token] for token in kept)
