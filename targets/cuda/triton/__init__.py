"""Kernels written in Triton, compiled to machine code that the library carries."""
