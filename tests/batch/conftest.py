"""A small encoder in a bundle with its tokenizer, and rows for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tgraph as tg
from tests.cli.model_folder import WORDS, mpnet_folder
from tgraph.models.sentence import embed, load_sentence_model, sentence_graph, tokenizer_files, tokenizer_from

LONGEST = 16  # tokens after which the bundle cuts


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    encoder, tokenizer, pad = load_sentence_model(str(mpnet_folder(folder / "mpnet")))
    path = folder / "encoder.tgc"
    tg.compile(sentence_graph(encoder, tokenizer)).save(path, files=tokenizer_files(tokenizer, LONGEST, pad))
    return path


@pytest.fixture(scope="session")
def encoder(bundle: Path) -> tg.Executable:
    exe = tg.load(bundle)
    assert isinstance(exe, tg.Executable)
    return exe


def sentences(count: int, seed: int = 0) -> list[str]:
    """Random sentences of 1 to 12 words, different ones mostly."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS[2:], random.integers(1, 13))) for _ in range(count)]


def alone(exe: tg.Executable, texts: list[str]) -> np.ndarray:
    """The vector of each text by itself."""
    tokenizer, longest, pad = tokenizer_from(exe.files, "the test's bundle")
    return np.concatenate([embed(exe, tokenizer, [text], max_length=longest, pad_token_id=pad) for text in texts])


def vectors_of(table: pa.Table, column: str = "vector") -> np.ndarray:
    """A column of vectors without nulls as a matrix."""
    flat = table.column(column).combine_chunks()
    assert pa.types.is_fixed_size_list(flat.type) and not flat.null_count
    return flat.flatten().to_numpy().reshape(len(flat), flat.type.list_size)
