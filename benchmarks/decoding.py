"""What contenders in generation have in common, whatever the model: the timed loop, and how peers take a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.onnx_blocks import as_matmuls, in_blocks

Generated = tuple[list[list[int]], float]  # tokens of each row, and the seconds of all steps


def timed_steps(step: Callable[[np.ndarray], np.ndarray], scores: np.ndarray, steps: int) -> Generated:
    """Generate greedily: the best tokens of `scores` first, then those of what `step` gives for the tokens before."""
    found = []
    start = time.perf_counter()
    for _ in range(steps):
        tokens = scores.argmax(axis=-1)
        found.append(tokens)
        scores = step(tokens[:, None])
    return np.stack(found, axis=1).tolist(), time.perf_counter() - start


class CTranslate2:
    """A folder converted by it. It has no call for a single step: the time of one token is taken off.

    kind: of its classes, Generator or Translator. vocabulary: the file of words in what it converted.
    """

    kind: str
    vocabulary: str
    weights = ("f32", "i8")  # that it has on CPUs

    def load(self, folder: Path, weights: str, threads: int) -> None:
        import ctranslate2

        place = folder / f"ct2-{weights}"
        if not place.exists():
            converter = ctranslate2.converters.TransformersConverter(str(folder))
            converter.convert(str(place), quantization=None if weights == "f32" else "int8")
        options = {"compute_type": "float32" if weights == "f32" else "int8", "intra_threads": threads, "inter_threads": 1}
        self.model = getattr(ctranslate2, self.kind)(str(place), **options)
        self.words = json.loads((place / self.vocabulary).read_text(encoding="utf-8"))
        self.numbers = {word: i for i, word in enumerate(self.words)}

    def write(self, words: list[list[str]], count: int) -> Sequence[list[str]]:
        """So many words for each row of words."""
        raise NotImplementedError

    def generate(self, prompts: np.ndarray, steps: int) -> Generated:
        words = [[self.words[t] for t in row] for row in prompts.tolist()]
        times = []
        for count in (1, steps + 1):
            start = time.perf_counter()
            found = self.write(words, count)
            times.append(time.perf_counter() - start)
        return [[self.numbers[w] for w in row][:steps] for row in found], times[1] - times[0]


def onnx_session(file: Path, weights: str, threads: int) -> Any:
    """ONNX Runtime's session of a file: of its dynamically quantised twin for i8, for i4 of one with MatMulNBits in blocks of 32,
    whose products it may compute in 8-bit integers."""
    import onnxruntime

    if weights == "i4":
        import onnx

        narrow = file.with_name(f"{file.stem}-i4.onnx")
        if not narrow.exists():
            onnx.save(in_blocks(as_matmuls(onnx.load(str(file))), accuracy_level=4), str(narrow))
        file = narrow
    if weights == "i8":
        from onnxruntime.quantization import quantize_dynamic

        narrow = file.with_name(f"{file.stem}-i8.onnx")
        if not narrow.exists():
            quantize_dynamic(file, narrow, per_channel=True)
        file = narrow
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class Past:
    """The step of a decoder in ONNX Runtime: its past goes in and comes out, and stays where it was made."""

    def __init__(self, session: Any, rows: int, others: dict[str, Any]):
        """others: inputs that are the same at every step."""
        from onnxruntime import OrtValue

        self.session, self.others, self.wrap = session, others, OrtValue.ortvalue_from_numpy
        inputs = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("past")}
        self.past = {name: self.wrap(np.zeros((rows, shape[1], 0, shape[3]), np.float32)) for name, shape in inputs.items()}

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """The scores of the token after these."""
        feeds = {"tokens": self.wrap(tokens), **self.others, **self.past}
        scores, *present = self.session.run_with_ort_values(None, feeds)
        self.past = dict(zip(self.past, present))
        return np.asarray(scores.numpy())[:, -1]
