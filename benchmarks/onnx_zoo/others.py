"""More models of the zoo: architectures for which nothing was written, of text, experts, images, sound, time and states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .models import (
    BART,
    COMMON,
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    LLAMA,
    PIXELS,
    SEQ2SEQ,
    T5,
    TEXT,
    VISION,
    VOCABULARY,
    Entry,
    Feeds,
    _decoder,
    _decoding,
    _encoder,
    _encoding,
    _first,
    _of,
    _pixels,
    _seq2seq_feeds,
    _text,
    hidden,
    mask,
)

SAMPLES = 400  # of sound
EXPERTS: dict[str, Any] = {**LLAMA, "num_experts_per_tok": 2}
NAMES: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2}


def _image(name: str, head: str = "Model", norms: int = 2 * LAYERS + 1, gelus: int = LAYERS, attentions: int = LAYERS,
           label: str = "", call: Callable[..., Any] | None = None, implementations: tuple[str, ...] = ("eager", "sdpa"),
           **settings: Any) -> Entry:
    return Entry(label or name.lower(), _of(name, head, **{**VISION, **settings}), _pixels, {"pixel_values": {0: "batch"}},
                 call or (lambda model, x: model(x)[0]), attentions, norms, gelus, implementations)


def _noise(batch: int, *shape: int) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def _sound(batch: int, length: int) -> Feeds:
    return {"input_values": _noise(batch, SAMPLES)}


def _heard(name: str, norms: int, gelus: int, implementations: tuple[str, ...] = ("eager", "sdpa"), **settings: Any) -> Entry:
    return Entry(name.lower(), _of(name, **{
        **{k: v for k, v in COMMON.items() if k != "max_position_embeddings"}, "conv_dim": (32, 32), "conv_stride": (5, 2),
        "conv_kernel": (10, 3), "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "apply_spec_augment": False,
        "layerdrop": 0.0, **settings}), _sound, {"input_values": {0: "batch"}}, lambda model, x: model(x)[0],
        LAYERS, norms, gelus, implementations)


def _series(batch: int, length: int) -> Feeds:
    return {"past_values": _noise(batch, 32, 3)}


def _states(name: str, norms: int = LAYERS + 1, **settings: Any) -> Entry:
    return Entry(name.lower(), _of(name, **{"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
                                            "pad_token_id": 0, **NAMES, **settings}),
                 lambda batch, length: {"input_ids": _text(batch, 6)["input_ids"]}, {"input_ids": {0: "batch"}},
                 lambda model, x: model(x)[0], 0, norms, 0, ("eager",))


def _states_of(batch: int, length: int) -> Feeds:
    return {"x": hidden(batch, length), "padding": mask(batch, length) == 0}


class Encoder(nn.Module):  # type: ignore[misc]
    """PyTorch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(HIDDEN, HEADS, FFN, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(HIDDEN), enable_nested_tensor=False)

    def forward(self, x: Tensor, padding: Tensor) -> Any:
        return self.layers(x, src_key_padding_mask=padding)


class Pair(nn.Module):  # type: ignore[misc]
    """PyTorch's encoder-decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Transformer(HIDDEN, HEADS, LAYERS, LAYERS, FFN, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Any:
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.layers(source, target, tgt_mask=causal, tgt_is_causal=True)


OTHERS = [
    # encoders of text
    _encoder("MobileBert", norms=0, gelus=0, intra_bottleneck_size=32, embedding_size=32, num_feedforward_networks=2,
             hidden_act="relu", typed=True),
    _encoder("Deberta", implementations=("eager",), most=64, relative_attention=True, pos_att_type=["p2c", "c2p"],
             norms=2 * LAYERS + 1, position_biased_input=False, type_vocab_size=0),
    _encoder("Esm", norms=2 * LAYERS + 1, position_embedding_type="rotary", token_dropout=False, mask_token_id=4),
    _encoder("RemBert", input_embedding_size=32, output_embedding_size=32, typed=True, implementations=("eager",)),
    _encoder("MegatronBert", norms=2 * LAYERS + 1, typed=True, implementations=("eager",)),
    _encoder("Nystromformer", norms=2 * LAYERS + 1, segment_means_seq_len=64, num_landmarks=64, conv_kernel_size=3,
             implementations=("eager",)),
    Entry("funnel", _of("Funnel", vocab_size=VOCABULARY, block_sizes=[1, 1], num_decoder_layers=1, d_model=HIDDEN,
                        n_head=HEADS, d_head=16, d_inner=FFN, pad_token_id=0),
          lambda batch, length: _text(batch, 8), {name: {0: "batch"} for name in TEXT}, _first, 3, 7, 3, ("eager",)),
    Entry("xlnet", _of("XLNet", vocab_size=VOCABULARY, d_model=HIDDEN, n_layer=LAYERS, n_head=HEADS, d_inner=FFN), _text, TEXT,
          _first, LAYERS, 2 * LAYERS, LAYERS, ("eager",)),
    _encoder("BigBird", attention_type="original_full", implementations=("eager",), norms=2 * LAYERS + 1, hidden_act="gelu"),
    _encoder("EuroBert", norms=2 * LAYERS + 1, gelus=0, num_key_value_heads=2),
    # decoders
    _decoder("Gemma", **LLAMA, head_dim=16, gelus=LAYERS),
    _decoder("Phi3", **LLAMA, **NAMES),
    _decoder("StableLm", **LLAMA),
    _decoder("Olmo2", **LLAMA, norms=4 * LAYERS + 1),
    _decoder("Starcoder2", **LLAMA, gelus=LAYERS),
    _decoder("Cohere", **LLAMA, norms=LAYERS + 1),
    _decoder("Granite", **LLAMA),
    _decoder("Glm", **LLAMA, head_dim=16),
    _decoder("Helium", **LLAMA, head_dim=16),
    _decoder("SmolLM3", **LLAMA),
    _decoder("GPTNeo", gelus=LAYERS, implementations=("eager",), window_size=8,
             **{**COMMON, "num_layers": LAYERS, "num_heads": HEADS, "attention_types": [[["global", "local"], 1]]}),
    _decoder("GPTJ", norms=LAYERS + 1, gelus=LAYERS, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=64, rotary_dim=8,
             implementations=("eager",)),
    _decoder("CodeGen", norms=LAYERS + 1, gelus=LAYERS, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=64, rotary_dim=8,
             implementations=("eager",)),
    _decoder("OpenAIGPT", "LMHeadModel", norms=2 * LAYERS, gelus=LAYERS, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS,
             n_positions=64, implementations=("eager",)),
    _decoder("GptOss", **EXPERTS, gelus=LAYERS, head_dim=16, num_local_experts=4, implementations=("eager",)),
    # experts
    _decoder("Mixtral", **EXPERTS, num_local_experts=4),
    _decoder("Qwen2Moe", **EXPERTS, num_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=32),
    _decoder("Qwen3Moe", **EXPERTS, num_experts=4, moe_intermediate_size=32, head_dim=16, norms=4 * LAYERS + 1),
    _decoder("GraniteMoe", **EXPERTS, num_local_experts=4),
    # encoder-decoders
    Entry("pegasus-decoder", _of("Pegasus", "ForConditionalGeneration", **BART), _seq2seq_feeds, SEQ2SEQ, _decoding,
          2 * LAYERS, 3 * LAYERS + 1, LAYERS),
    Entry("mbart-decoder", _of("MBart", "ForConditionalGeneration", **BART), _seq2seq_feeds, SEQ2SEQ, _decoding,
          2 * LAYERS, 3 * LAYERS + 2, LAYERS),
    Entry("m2m100-encoder", _of("M2M100", **BART), _text, TEXT, _encoding, LAYERS, 2 * LAYERS + 1, 0),
    Entry("blenderbot-decoder", _of("Blenderbot", "ForConditionalGeneration", **BART), _seq2seq_feeds, SEQ2SEQ, _decoding,
          2 * LAYERS, 3 * LAYERS + 1, LAYERS),
    Entry("umt5-encoder", _of("UMT5", "EncoderModel", "UMT5", **T5), _text, TEXT, _first, LAYERS, 2 * LAYERS + 1, LAYERS),
    Entry("whisper-decoder",
          _of("Whisper", "ForConditionalGeneration", d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS,
              encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN,
              num_mel_bins=16, max_source_positions=20, max_target_positions=64, vocab_size=VOCABULARY, pad_token_id=0,
              bos_token_id=1, eos_token_id=2, decoder_start_token_id=1),
          lambda batch, length: {"decoder_input_ids": _text(batch, length)["input_ids"], "states": hidden(batch, 20)},
          {"decoder_input_ids": {0: "batch", 1: "length"}, "states": {0: "batch"}},
          lambda model, ids, states: model(encoder_outputs=(states,), decoder_input_ids=ids, use_cache=False)[0],
          2 * LAYERS, 3 * LAYERS + 1, LAYERS),
    # images
    _image("DeiT"),
    _image("Dinov2", mlp_ratio=2),
    _image("SiglipVision", "Model", norms=2 * LAYERS + 2, gelus=LAYERS + 1, attentions=LAYERS + 1, label="siglip-vision",
           call=lambda model, x: model(x)[1]),
    _image("Yolos", norms=2 * LAYERS + 1, num_detection_tokens=4, image_size=[PIXELS, PIXELS]),
    *(Entry(name.lower(), _of(name, image_size=PIXELS, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
                              window_size=2),
            _pixels, {"pixel_values": {0: "batch"}}, lambda model, x: model(x)[0], 4, 2 * 4 + 3, 4, ("eager",))
      for name in ("Swin", "Swinv2")),
    _image("Segformer", attentions=4, norms=14, gelus=4, implementations=("eager",), num_encoder_blocks=2, depths=[2, 2],
           sr_ratios=[2, 1], hidden_sizes=[16, 32], patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2],
           mlp_ratios=[2, 2]),
    _image("Data2VecVision", norms=2 * LAYERS, label="data2vec-vision"),
    Entry("videomae", _of("VideoMAE", **VISION, num_frames=4, tubelet_size=2),
          lambda batch, length: {"pixel_values": _noise(batch, 4, 3, PIXELS, PIXELS)},
          {"pixel_values": {0: "batch"}}, lambda model, x: model(x)[0], LAYERS, 2 * LAYERS, LAYERS),
    # sound
    _heard("Wav2Vec2", 2 * LAYERS + 3, LAYERS + 3),
    _heard("Hubert", 2 * LAYERS + 3, LAYERS + 3),
    _heard("WavLM", 2 * LAYERS + 3, LAYERS + 3, ("eager",)),
    Entry("ast", _of("AST", "Model", "AST", **{**VISION, "num_mel_bins": 32, "max_length": 40}),
          lambda batch, length: {"input_values": _noise(batch, 40, 32)},
          {"input_values": {0: "batch"}}, lambda model, x: model(x)[0], LAYERS, 2 * LAYERS + 1, LAYERS),
    # time series
    Entry("patchtst", _of("PatchTST", num_input_channels=3, context_length=32, patch_length=8, patch_stride=8, d_model=HIDDEN,
                          num_hidden_layers=LAYERS, num_attention_heads=HEADS, ffn_dim=FFN, norm_type="layernorm"),
          _series, {"past_values": {0: "batch"}}, lambda model, x: model(x)[0], LAYERS, 2 * LAYERS, LAYERS),
    Entry("patchtsmixer", _of("PatchTSMixer", context_length=32, patch_length=8, patch_stride=8, num_input_channels=3,
                              d_model=16, num_layers=LAYERS, expansion_factor=2),
          _series, {"past_values": {0: "batch"}}, lambda model, x: model(x)[0], 0, 2 * LAYERS, 2 * LAYERS, ("eager",)),
    # states in place of attention; their loop over the sequence is unrolled, so the length is fixed
    _states("Mamba", state_size=4, intermediate_size=2 * HIDDEN),
    _states("FalconMamba", 4 * LAYERS + 1, state_size=4, intermediate_size=2 * HIDDEN),
    _states("Mamba2", 2 * LAYERS + 1, state_size=8, num_heads=8, head_dim=16, n_groups=1, chunk_size=4),
    _states("Rwkv", 2 * LAYERS + 2, attention_hidden_size=HIDDEN, context_length=64),
    # PyTorch's own layers
    Entry("torch-encoder", lambda attention: Encoder(), _states_of,
          {"x": {0: "batch", 1: "length"}, "padding": {0: "batch", 1: "length"}}, lambda model, *tensors: model(*tensors),
          LAYERS, 2 * LAYERS + 1, LAYERS, ("sdpa",)),
    Entry("torch-transformer", lambda attention: Pair(),
          lambda batch, length: {"source": hidden(batch, length), "target": hidden(batch, length + 2)},
          {"source": {0: "batch", 1: "source"}, "target": {0: "batch", 1: "target"}}, lambda model, *tensors: model(*tensors),
          3 * LAYERS, 5 * LAYERS + 2, 0, ("sdpa",)),
]
