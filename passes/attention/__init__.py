"""Recognising scaled dot-product attention however it is spelled; `fuse-attention` and `finite-mask` are built on it."""
