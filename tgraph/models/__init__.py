"""Published models, built from `tgraph.nn`, with the weight names of their public checkpoints."""

from .pretrained import from_pretrained, load_tokenizer

__all__ = ["from_pretrained", "load_tokenizer"]
