"""Every published model beside Hugging Face's transformers: same folder, same inputs, at two sizes. Needs it and PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tests.models.fused import assert_fused
from tests.models.pretrained_cases import CASES, random_weights, real
from tests.models.pretrained_golden import feeds_of, outputs_of, save_transformers_model
from tests.models.test_pretrained import ALL, trace
from tgraph.models.rope import rope_of, rotary_angles
from tgraph.nn.positions import RelativePositionBias

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.numpy")


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize(("kind", "architecture"), ALL)
def test_outputs_are_transformers(kind: str, architecture: str, size: str, tmp_path: Path) -> None:
    feeds = feeds_of(kind, size, architecture)
    expected = outputs_of(save_transformers_model(tmp_path, kind, size, architecture), feeds)
    graph = trace(tg.models.from_pretrained(tmp_path), feeds)
    targets = ["numpy", "cpu"] if architecture == CASES[kind].architectures[0] else ["numpy"]
    for target in targets:
        executable = tg.compile(graph, target)
        outputs = executable.run(feeds)
        assert set(outputs) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(real(outputs[name], feeds), values, atol=1e-4, err_msg=f"{name} on {target}")
        if target == "cpu":
            assert_fused(executable, graph)


@pytest.mark.parametrize("kind", ["bert", "albert", "distilbert", "mpnet", "deberta-v2", "modernbert"])
def test_attention_weights_are_transformers(kind: str, tmp_path: Path) -> None:
    architecture = CASES[kind].architectures[0]
    theirs = save_transformers_model(tmp_path, kind, "small", architecture)
    theirs.set_attn_implementation("eager")
    feeds = feeds_of(kind, "small", architecture)
    with torch.no_grad():
        given = {{"mask": "attention_mask"}.get(name, name): torch.tensor(feed.astype(np.int64)) for name, feed in feeds.items()}
        expected = theirs(**given, output_attentions=True).attentions
    ours = tg.models.from_pretrained(tmp_path, output_attentions=True)
    weights = tg.compile(trace(ours, feeds), "numpy").run(feeds)["attentions"]
    assert len(weights) == len(expected)
    for layer, values in zip(weights, expected):
        rows = feeds["mask"]  # of queries that are no padding
        np.testing.assert_allclose(layer.transpose(0, 2, 1, 3)[rows], values.numpy().transpose(0, 2, 1, 3)[rows], atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (16, 64), (8, 20), (48, 100), (320, 800)])
def test_buckets_of_t5_and_mpnet(buckets: int, farthest: int, causal: bool) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = np.arange(-2 * farthest, 2 * farthest + 1)
    theirs = T5Attention._relative_position_bucket(torch.tensor(distance), not causal, buckets, farthest).numpy()
    ours = RelativePositionBias(2, buckets, farthest, causal).buckets
    assert np.array_equal(ours[np.clip(distance, -farthest, farthest) + farthest], theirs)


@pytest.mark.parametrize(("buckets", "farthest"), [(256, 512), (-1, 512), (6, 20), (32, 33), (64, 1000)])
def test_buckets_of_deberta(buckets: int, farthest: int) -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    from tgraph.models.deberta import DebertaV2Config, RelativePositions

    config = DebertaV2Config(position_buckets=buckets, max_relative_positions=farthest)
    length = 3 * farthest
    row = torch.zeros(1, length, 1)
    theirs = build_relative_position(row, row, buckets, farthest)[0].numpy()
    theirs = np.clip(theirs + config.span, 0, 2 * config.span - 1)
    ours = RelativePositions(config)
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    assert np.array_equal(ours.rows[np.clip(distance, -ours.reach, ours.reach) + ours.reach], theirs)


@pytest.mark.parametrize("said", [True, False])
def test_the_head_with_which_deberta_was_trained(said: bool, tmp_path: Path) -> None:
    """config.json of the published models does not say that their head is that one."""
    case = CASES["deberta-v2"]
    config = transformers.AutoConfig.for_model("deberta-v2", **case.small, legacy=False)
    transformers.DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = random_weights({name: array.shape for name, array in safetensors.load_file(file).items()})
    safetensors.save_file(weights, file, {"format": "pt"})
    feeds = feeds_of("deberta-v2", "small", "DebertaV2ForMaskedLM")
    expected = outputs_of(transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path).eval(), feeds)["logits"]
    if not said:
        config = tmp_path / "config.json"
        config.write_text(config.read_text().replace('"legacy": false,', ""))
    graph = trace(tg.models.from_pretrained(tmp_path), feeds)
    np.testing.assert_allclose(real(tg.compile(graph, "numpy").run(feeds)["logits"], feeds), expected, atol=1e-4)


@pytest.mark.parametrize("rope", [
    {"factor": 4.0}, {"factor": 2.0, "attention_factor": 0.7, "beta_fast": 8, "beta_slow": 0.5, "truncate": False},
    {"factor": 8.0, "mscale": 0.707, "mscale_all_dim": 1.2}, {"factor": 1.0}])
def test_frequencies_of_yarn(rope: dict[str, float]) -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    values = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 400,
              "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000.0, "original_max_position_embeddings": 100, **rope}}
    expected, scale = ROPE_INIT_FUNCTIONS["yarn"](transformers.LlamaConfig(**values), "cpu")
    found = rotary_angles(64, rope_of(values, 10000.0))
    np.testing.assert_allclose(found.frequencies, expected.numpy(), rtol=1e-5)
    assert abs(found.scale - scale) < 1e-6
