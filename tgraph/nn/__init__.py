"""Layers: small Modules that say a formula once. Weights are named by the path of attributes that holds them."""

from ..module import Module
from ..state import State
from ..tensor import Parameter
from .attention import DotProductAttention, MultiHeadAttention, attention_weights, merge_heads, split_heads
from .basic import Embedding, LayerNorm, Linear, RMSNorm
from .feed_forward import FeedForward, GatedFeedForward, get_activation
from .past import KeyValueCache, Memory, MemoryOfLayer, Past, PastOfLayer, Progress
from .positions import LearnedPositions, RelativePositionBias, RotaryAngles, RotaryPositions, SinusoidalPositions
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .scored_attention import Attention
from .stacks import Decoder, DecoderLayer, Encoder, EncoderLayer

__all__ = [
    "GRU", "LSTM", "RNN", "Attention", "Decoder", "DecoderLayer", "DotProductAttention", "Embedding", "Encoder", "EncoderLayer",
    "FeedForward", "GRUCell", "GatedFeedForward", "KeyValueCache", "LSTMCell", "LayerNorm", "LearnedPositions", "Linear",
    "Memory", "MemoryOfLayer", "Module", "MultiHeadAttention", "Parameter", "Past", "PastOfLayer", "Progress", "RMSNorm",
    "RNNCell", "RelativePositionBias", "RotaryAngles", "RotaryPositions", "SinusoidalPositions", "State", "attention_weights",
    "get_activation", "merge_heads", "split_heads",
]
