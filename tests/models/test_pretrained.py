"""Every published model from a folder: names, shapes and numbers of Hugging Face's transformers (golden files); what is refused.

`test_transformers.py` compares with transformers itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tests.models.pretrained_cases import CASES, inputs, random_weights, real
from tests.models.pretrained_golden import GOLDEN, feeds_of, some
from tgraph.formats import save_safetensors
from tgraph.ir.file_formats import read_arrays
from tgraph.models.deberta import DebertaV2Config, DebertaV2ForMaskedLM
from tgraph.models.families import FAMILIES

B, S, T = tg.dims("B S T")


def golden(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{kind}.json").read_text())
    return found


def write_folder(folder: Path, kind: str, architecture: str, **changes: Any) -> Path:
    """A folder with a model's config.json (with changes) and weights."""
    stored = golden(kind)
    folder.mkdir(exist_ok=True)
    config = {**stored["config"], "architectures": [architecture], **changes}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {name: tuple(shape) for name, shape in stored["architectures"][architecture]["weights"].items()}
    save_safetensors(folder / "model.safetensors", random_weights(shapes))
    return folder


def trace(model: Any, feeds: dict[str, np.ndarray]) -> tg.Graph:
    return tg.trace(model, **{name: (tg.bool_ if feed.dtype == bool else tg.i64)[B, T if name.startswith("decoder") else S]
                              for name, feed in feeds.items()})


ALL = [(kind, architecture) for kind, case in CASES.items() for architecture in case.architectures]


def test_all_models_have_cases() -> None:
    assert {(kind, name) for kind, family in FAMILIES.items() for name in family.architectures} == set(ALL)
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(FAMILIES)


@pytest.mark.parametrize(("kind", "architecture"), ALL)
def test_names_and_numbers_are_transformers(kind: str, architecture: str, tmp_path: Path) -> None:
    expected = golden(kind)["architectures"][architecture]
    model = tg.models.from_pretrained(write_folder(tmp_path / "m", kind, architecture))
    parameters = {name: list(p.type.shape) for name, p in model.parameters().items()}
    assert {model.aliases().get(name, name): shape for name, shape in expected["weights"].items()} == parameters
    feeds = feeds_of(kind, "small", architecture)
    outputs = tg.reference.run(trace(model, feeds), feeds)
    assert set(outputs) == set(expected["outputs"])
    for name, values in expected["outputs"].items():
        np.testing.assert_allclose(some(real(outputs[name], feeds)), values, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", CASES)
def test_specs_trace_what_a_user_calls(kind: str, tmp_path: Path) -> None:
    model = tg.models.from_pretrained(write_folder(tmp_path / "m", kind, CASES[kind].architectures[0]))
    feeds = inputs(CASES[kind], "small")
    graph = tg.trace(model, **model.specs)
    assert {value.name for value in graph.inputs} == set(feeds) - {"decoder_mask"}
    for value in graph.inputs:
        assert value.type.rank == 2
    tg.reference.run(graph, {value.name: feeds[value.name] for value in graph.inputs})


def test_sharded_weights_and_other_precisions(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", "BertModel")
    whole = dict(tg.formats.load_safetensors(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    index = {}
    for number, names in enumerate((sorted(whole)[::2], sorted(whole)[1::2])):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        save_safetensors(folder / file, {name: whole[name].astype(np.float16) for name in names})
        index |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    model = tg.models.from_pretrained(folder)
    for name, parameter in model.parameters().items():
        assert parameter.data is not None and parameter.data.dtype == np.float32
        assert np.array_equal(parameter.data, whole[name].astype(np.float16).astype(np.float32))


def test_checkpoints_of_the_model_below_a_head_and_above_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "gpt2", "gpt2", "GPT2Model", architectures=["GPT2LMHeadModel"])  # as OpenAI's files are
    weights = dict(tg.formats.load_safetensors(folder / "model.safetensors"))
    save_safetensors(folder / "model.safetensors", weights | {"h.0.attn.bias": np.ones((1, 1, 4, 4), np.float32)})
    model = tg.models.from_pretrained(folder)
    assert np.array_equal(model.parameters()["transformer.h.1.ln_1.bias"].data, weights["h.1.ln_1.bias"])
    folder = write_folder(tmp_path / "bert", "bert", "BertForMaskedLM")
    with pytest.raises(tg.WeightsError, match=r"(?s)unexpected: cls.*read as BertModel.*BertForMaskedLM.*ignore="):
        tg.models.from_pretrained(folder, "BertModel")
    bare = tg.models.from_pretrained(folder, "BertModel", ignore=["cls."])
    assert "pooler.dense.weight" not in bare.parameters() and "encoder.layer.1.output.dense.bias" in bare.parameters()
    with pytest.raises(tg.WeightsError, match=r"missing: qa_outputs\.weight, qa_outputs\.bias"):
        tg.models.from_pretrained(folder, "BertForQuestionAnswering", ignore=["cls."])


def test_a_head_that_is_not_the_table_of_words(tmp_path: Path) -> None:
    """T5 v1.1: a head of its own, whose input is not scaled; config.json says both by one entry."""
    folder = write_folder(tmp_path / "m", "t5", "T5ForConditionalGeneration")
    feeds = feeds_of("t5", "small", "T5ForConditionalGeneration")
    tied = tg.models.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["scale_decoder_outputs"]
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    weights = dict(tg.formats.load_safetensors(folder / "model.safetensors"))
    save_safetensors(folder / "model.safetensors", weights | {"lm_head.weight": weights["shared.weight"] * np.float32(2)})
    own = tg.models.from_pretrained(folder)
    assert "lm_head.weight" in own.parameters() and "lm_head.weight" in tied.aliases()
    logits = [tg.reference.run(trace(model, feeds), feeds)["logits"] for model in (tied, own)]
    np.testing.assert_allclose(logits[1], logits[0] * 2 * 4, rtol=1e-5)  # sqrt(d_model) is 4


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "qwen2"])
def test_positions_make_left_padding_right(kind: str, tmp_path: Path) -> None:
    """A decoder says of tokens the same on whichever side the padding is, if it is told their positions."""
    architecture = CASES[kind].architectures[1]
    model = tg.models.from_pretrained(write_folder(tmp_path / "m", kind, architecture))
    right = feeds_of(kind, "small", architecture)
    shift = [int((~mask).sum()) for mask in right["mask"]]
    left = {name: np.stack([np.roll(row, by) for row, by in zip(feed, shift)]) for name, feed in right.items()}
    left["positions"] = np.maximum(np.arange(7) - np.array(shift)[:, None], 0)
    on_right, on_left = (tg.reference.run(trace(model, feeds), feeds)["logits"] for feeds in (right, left))
    np.testing.assert_allclose(on_left[left["mask"]], on_right[right["mask"]], atol=1e-6)


def test_the_halves_of_t5_are_a_program(tmp_path: Path) -> None:
    model = tg.models.from_pretrained(write_folder(tmp_path / "m", "t5", "T5ForConditionalGeneration"))
    feeds = feeds_of("t5", "small", "T5ForConditionalGeneration")
    source = {"mask": tg.bool_[B, S]}
    target = {"memory": tg.f32[B, S, 16], "decoder_input_ids": tg.i64[B, T], **source, "decoder_mask": tg.bool_[B, T]}
    program = tg.trace_program(model, encode={"input_ids": tg.i64[B, S], **source}, decode=target)
    exe = tg.compile(program, "numpy")
    memory = exe.encode(feeds["input_ids"], feeds["mask"])
    logits = exe.decode(memory, feeds["decoder_input_ids"], feeds["mask"], feeds["decoder_mask"])
    whole = tg.reference.run(trace(model, feeds), feeds)["logits"]
    np.testing.assert_allclose(real(logits, feeds), real(whole, feeds), atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind, case in CASES.items() if any("ForMaskedLM" in a for a in case.architectures)])
def test_attention_weights(kind: str, tmp_path: Path) -> None:
    masked = next(a for a in CASES[kind].architectures if a.endswith("ForMaskedLM"))
    folder = write_folder(tmp_path / "m", kind, masked)
    feeds = feeds_of(kind, "small", masked)
    outputs = tg.reference.run(trace(tg.models.from_pretrained(folder, output_attentions=True), feeds), feeds)
    weights = outputs["attentions"]
    assert weights.shape == (2, 3, 2, 7, 7)  # layers, batch, heads, queries, keys
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-9)
    excluded = ~feeds["mask"][:, None, None, :] & feeds["mask"][:, None, :, None]  # padded keys of queries that are none
    assert not (weights * excluded).any()
    plain = tg.reference.run(trace(tg.models.from_pretrained(folder), feeds), feeds)
    np.testing.assert_allclose(outputs["logits"], plain["logits"], atol=1e-9)


@pytest.mark.parametrize(("kind", "changes", "text"), [
    ("bert", {"model_type": "jamba"}, r"model_type is 'jamba'; known: bert, roberta"),
    ("bert", {"architectures": ["BertForDancing"]}, r"BertForDancing; known for bert: BertModel, BertForMaskedLM.*architecture="),
    ("bert", {"hidden_act": "mish"}, r"config.json: hidden_act is 'mish'; supported: 'gelu'"),
    ("bert", {"position_embedding_type": "relative_key"}, r"position_embedding_type is 'relative_key'; supported: 'absolute'"),
    ("bert", {"is_decoder": True}, r"is_decoder is True; supported: False"),
    ("bert", {"auto_map": {"AutoModel": "x.Y"}}, r"auto_map is .*no model with such an entry"),
    ("bert", {"quantization_config": {"bits": 4}}, r"quantization_config is .*no model with such an entry"),
    ("bert", {"hidden_size": "16"}, r"hidden_size is '16'; expected int"),
    ("mpnet", {"relative_attention_num_buckets": 64}, r"relative_attention_num_buckets is 64; supported: 32"),
    ("deberta-v2", {"pos_att_type": ["p2p"]}, r"pos_att_type is \['p2p'\]; supported: c2p, p2c"),
    ("deberta-v2", {"conv_act": "mish"}, r"conv_act is 'mish'"),
    ("modernbert", {"layer_types": ["linear"]}, r"layer_types has linear; supported: full_attention, sliding_attention"),
    ("modernbert", {"classifier_pooling": "max"}, r"classifier_pooling is 'max'"),
    ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "longrope"}}}, r"rope_type is 'longrope'; supp"),
    ("qwen2", {"rope_parameters": {"rope_type": "yarn", "factor": "4"}}, r"factor of rotary positions is '4'; expected a number"),
    ("t5", {"feed_forward_proj": "gated-mish"}, r"feed_forward_proj is 'gated-mish'"),
    ("gpt2", {"activation_function": "mish"}, r"activation_function is 'mish'"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_by_inverse_layer_idx is True; supported: False"),
    ("llama", {"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, r"rope_type is 'dynamic'"),
    ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, r"low_freq_factor of rotary positions is None"),
    ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, r"partial_rotary_factor is 0.5"),
    ("qwen2", {"layer_types": ["chunked"]}, r"layer_types has chunked"),
])
def test_what_tgraph_does_not_have_is_refused_by_name(kind: str, changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", kind, CASES[kind].architectures[0], **changes)
    with pytest.raises(tg.FormatError, match=text):
        tg.models.from_pretrained(folder)


def test_the_head_of_published_debertas_under_its_own_names(tmp_path: Path) -> None:
    """The same formula as BERT's head, where the word embeddings have the hidden size; their config.json does not tell."""
    name = "DebertaV2ForMaskedLM"
    folder = write_folder(tmp_path / "m", "deberta-v2", name)
    weights = {re.sub(r"^cls\.predictions\.(transform\.)?", "lm_predictions.lm_head.", key): array
               for key, array in read_arrays(folder / "model.safetensors").items() if not key.endswith("decoder.weight")}
    assert "lm_predictions.lm_head.bias" in weights and "lm_predictions.lm_head.LayerNorm.weight" in weights
    save_safetensors(folder / "model.safetensors", weights)
    feeds = feeds_of("deberta-v2", "small", name)
    logits = tg.reference.run(trace(tg.models.from_pretrained(folder), feeds), feeds)["logits"]
    expected = golden("deberta-v2")["architectures"][name]["outputs"]["logits"]
    np.testing.assert_allclose(some(real(logits, feeds)), expected, atol=1e-4)
    with pytest.raises(tg.TraceError, match="word embeddings must have the hidden size, 16"):
        DebertaV2ForMaskedLM(DebertaV2Config.from_dict({**CASES["deberta-v2"].small, "embedding_size": 12, "legacy": False}))


def test_older_configs_without_a_model_type(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", "BertModel", model_type=None)
    assert type(tg.models.from_pretrained(folder)).__name__ == "Bert"
    folder = write_folder(tmp_path / "m", "bert", "BertModel", model_type=None, architectures=None)
    assert type(tg.models.from_pretrained(folder, "BertModel")).__name__ == "Bert"
    with pytest.raises(tg.FormatError, match=r"model_type is None; known: bert.*architecture="):
        tg.models.from_pretrained(folder)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        tg.models.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(tg.FormatError, match=r"has no config.json"):
        tg.models.from_pretrained(tmp_path)
    folder = write_folder(tmp_path / "m", "bert", "BertModel")
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(tg.FormatError, match=r"none of model.safetensors.*there is tf_model.h5.*save_pretrained"):
        tg.models.from_pretrained(folder)
    with pytest.raises(tg.FormatError, match=r"no tokenizer.json.*AutoTokenizer"):
        tg.models.load_tokenizer(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(tg.FormatError, match="is no JSON"):
        tg.models.from_pretrained(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(tg.FormatError, match="holds no object, but list"):
        tg.models.from_pretrained(folder)


def test_options_that_a_model_does_not_have(tmp_path: Path) -> None:
    for kind, name in (("llama", "LlamaModel"), ("t5", "T5Model")):
        folder = write_folder(tmp_path / "m", kind, name)
        with pytest.raises(tg.FormatError, match=f"{name} has no output_attentions"):
            tg.models.from_pretrained(folder, output_attentions=True)
    model = tg.models.from_pretrained(write_folder(tmp_path / "d", "distilbert", "DistilBertForMaskedLM"))
    with pytest.raises(tg.TraceError, match="DistilBertForMaskedLM has no segments"):
        tg.trace(model, tg.i64[B, S], token_type_ids=tg.i64[B, S])


def test_configs_of_both_versions_of_transformers_mean_the_same(tmp_path: Path) -> None:
    """Before version 5, rotary positions were said in other words."""
    from tgraph.models.llama import LlamaConfig
    from tgraph.models.modernbert import ModernBertConfig

    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    new = LlamaConfig.from_dict({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **scaling}})
    assert new == LlamaConfig.from_dict({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **scaling}})
    assert LlamaConfig.from_dict({"rope_theta": 3e5}).rope == {"rope_type": "default", "rope_theta": 3e5}
    bases = lambda config: {kind: rope["rope_theta"] for kind, rope in config.rope.items()}
    assert bases(ModernBertConfig.from_dict({"global_rope_theta": 9.0, "local_rope_theta": None})) == {
        "full_attention": 9.0, "sliding_attention": 9.0}
    assert bases(ModernBertConfig.from_dict({})) == {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
    assert ModernBertConfig.from_dict({"id2label": {"0": "a", "1": "b", "2": "c"}}).num_labels == 3


def test_tokenizer(tmp_path: Path) -> None:
    from tgraph.models.sentence import encode_batch, minilm_folder

    tokenizer = tg.models.load_tokenizer(minilm_folder())
    ids, mask = encode_batch(tokenizer, ["one two three", "one"], pad_token_id=7)
    assert (ids[~mask] == 7).all() and mask.sum(axis=1).tolist() == [5, 3]
