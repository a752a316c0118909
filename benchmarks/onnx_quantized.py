"""Quantised ONNX models: tgraph beside ONNX Runtime on the same file, in turns within one process.

    python benchmarks/onnx_quantized.py [FILE.onnx ...]

Without files, ONNX Runtime's quantisers make some of a BERT. A line for each: milliseconds of tgraph and of ONNX Runtime at each
size, and how many times as fast tgraph is, as the median over the rounds.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tgraph as tg
from benchmarks.harness.onnx_bert import bert_onnx
from benchmarks.harness.onnx_blocks import in_blocks
from benchmarks.harness.turns import PAUSE
from tgraph.models.bert import Bert, BertConfig

SIZES = ((1, 16), (1, 128), (8, 128))
CONFIG = {"vocab_size": 1000, "hidden_size": 768, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 3072,
          "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12}


def feeds(batch: int, length: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(length).integers(0, 1000, (batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


class Calibration:
    """Two batches, as the quantiser asks for them."""

    def __init__(self) -> None:
        self.batches = iter([feeds(2, 16), feeds(2, 32)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {name: batch[name] for name in ("input_ids", "attention_mask")}


def made(folder: Path) -> list[Path]:
    """A BERT, quantised in several ways."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    logging.disable(logging.WARNING)
    batch, length = tg.dims("B S")
    weights = tg.trace(Bert(BertConfig.from_dict(CONFIG)), input_ids=tg.i64[batch, length], mask=tg.bool_[batch, length]).weights
    paths = {name: folder / f"{name}.onnx" for name in ("plain", "dynamic-i8", "dynamic-u8", "qdq", "blocks-4", "blocks-8")}
    onnx.save(bert_onnx(CONFIG, weights), str(paths["plain"]))
    kinds: dict[str, Any] = {"extra_options": {"DefaultTensorType": onnx.TensorProto.FLOAT}}
    quantize_dynamic(str(paths["plain"]), str(paths["dynamic-i8"]), weight_type=QuantType.QInt8, **kinds)
    quantize_dynamic(str(paths["plain"]), str(paths["dynamic-u8"]), weight_type=QuantType.QUInt8, per_channel=True, **kinds)
    quantize_static(str(paths["plain"]), str(paths["qdq"]), Calibration(), quant_format=QuantFormat.QDQ, per_channel=True,
                    weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8, **kinds)
    for bits in (4, 8):
        onnx.save(in_blocks(onnx.load(str(paths["plain"])), bits), str(paths[f"blocks-{bits}"]))
    return list(paths.values())


def turn(call: Callable[[], Any], calls: int) -> float:
    """The shortest of some calls, seconds, after a pause in which the other's threads come to rest."""
    time.sleep(PAUSE)
    call()
    return min(_timed(call) for _ in range(calls))


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def line(path: Path, threads: int, rounds: int) -> str:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    exe = tg.compile(tg.import_onnx(path))
    cells = []
    for size in SIZES:
        given = {name: array for name, array in feeds(*size).items() if name in {i.name for i in session.get_inputs()}}
        calls = 10 if size[0] * size[1] < 100 else 3
        turns = [(turn(lambda: exe.run(given), calls), turn(lambda: session.run(None, given), calls)) for _ in range(rounds)]
        ours, theirs = (statistics.median(times) * 1e3 for times in zip(*turns))
        cells.append(f"{ours:8.2f} {theirs:8.2f} {statistics.median(b / a for a, b in turns):6.2f}x")
    return f"{path.stem:<14}" + "   ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.onnx")
    parser.add_argument("--threads", type=int, default=2, help="ONNX Runtime's; tgraph takes the cores of the process (2)")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(" " * 14 + "   ".join(f"{f'tgraph, ORT at {size}':<25}" for size in SIZES))
        for path in given.files or made(Path(folder)):
            print(line(path, given.threads, given.rounds), flush=True)


if __name__ == "__main__":
    main()
