"""Matching scaled dot-product attention in all its variants; `fuse-attention` and `finite-mask` are built on it."""
