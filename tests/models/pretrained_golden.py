"""What Hugging Face's transformers computes for small models of every kind, so that tests need neither it nor PyTorch.

    python -m tests.models.pretrained_golden       # writes tests/models/golden/*.json

A file has, for one `model_type`, config.json as transformers writes it, and for each architecture the names and shapes of its
weights and some of its outputs, for the weights and inputs of `pretrained_cases`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.pretrained_cases import CASES, OUTPUTS, inputs, random_weights, real

GOLDEN = Path(__file__).parent / "golden"
COUNT = 12  # values of each output
_ARGUMENTS = {"mask": "attention_mask", "decoder_mask": "decoder_attention_mask"}


def save_transformers_model(folder: Path, kind: str, size: str, architecture: str) -> Any:
    """Write a model of transformers, with `random_weights`, into a folder; gives what transformers reads from there."""
    import transformers
    from safetensors.numpy import load_file, save_file

    values = dict(CASES[kind].config(size))
    if architecture.endswith("QuestionAnswering"):
        values.pop("num_labels", None)  # it has two, the first and the last token
    config = transformers.AutoConfig.for_model(kind, **values)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    file = folder / "model.safetensors"
    save_file(random_weights({name: array.shape for name, array in load_file(file).items()}), file, {"format": "pt"})
    return getattr(transformers, architecture).from_pretrained(folder).eval()


def feeds_of(kind: str, size: str, architecture: str) -> dict[str, np.ndarray]:
    """The inputs of an architecture."""
    case = CASES[kind]
    feeds = inputs(case, size, case.segments and case.config(size).get("type_vocab_size", 2) > 0)
    return {name: feed for name, feed in feeds.items() if architecture != "T5EncoderModel" or not name.startswith("decoder")}


def outputs_of(model: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a model of transformers by our names, without padding; with a head those of the head."""
    import torch

    with torch.no_grad():
        given = model(**{_ARGUMENTS.get(name, name): torch.tensor(feed.astype(np.int64)) for name, feed in feeds.items()})
    hidden = () if "logits" in given else ("last_hidden_state", "encoder_last_hidden_state")
    return {ours: real(given[theirs].numpy(), feeds) for theirs, ours in OUTPUTS.items()
            if theirs in given and (theirs in hidden or not theirs.endswith("hidden_state"))}


def some(output: np.ndarray) -> np.ndarray:
    """Some values of an output, from all over it."""
    flat = output.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(COUNT, flat.size)).astype(int)]


def main() -> None:
    from safetensors.numpy import load_file

    GOLDEN.mkdir(exist_ok=True)
    for kind, case in CASES.items():
        lines = []
        for architecture in case.architectures:
            with tempfile.TemporaryDirectory() as folder:
                model = save_transformers_model(Path(folder), kind, "small", architecture)
                config = json.loads((Path(folder) / "config.json").read_text())
                shapes = {name: list(array.shape) for name, array in sorted(load_file(f"{folder}/model.safetensors").items())}
                outputs = outputs_of(model, feeds_of(kind, "small", architecture))
            entry = {"weights": shapes, "outputs": {name: [float(f"{v:.6g}") for v in some(o)] for name, o in outputs.items()}}
            lines.append(f"  {json.dumps(architecture)}: {json.dumps(entry)}")
        shown = {name: value for name, value in config.items() if name not in ("architectures", "transformers_version")}
        text = f'{{"config": {json.dumps(shown)},\n "architectures": {{\n' + ",\n".join(lines) + "\n}}\n"
        (GOLDEN / f"{kind}.json").write_text(text)
        print(f"{kind}: {len(lines)} architectures, {len(text)} bytes")


if __name__ == "__main__":
    main()
