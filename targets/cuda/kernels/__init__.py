"""The GPU's kernels: products on tensor cores and without, attention, rows, element by element."""
