"""Layers: small Modules that say a formula once. Weights are named by the path of attributes that holds them."""

from ..module import Module
from ..tensor import Parameter
from .attention import MultiHeadAttention, merge_heads, split_heads
from .basic import Embedding, LayerNorm, Linear, RMSNorm
from .feed_forward import FeedForward, GatedFeedForward, get_activation
from .positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from .stacks import Decoder, DecoderLayer, Encoder, EncoderLayer

__all__ = [
    "Decoder", "DecoderLayer", "Embedding", "Encoder", "EncoderLayer", "FeedForward", "GatedFeedForward", "LayerNorm",
    "LearnedPositions", "Linear", "Module", "MultiHeadAttention", "Parameter", "RMSNorm", "RotaryPositions",
    "SinusoidalPositions", "get_activation", "merge_heads", "split_heads",
]
