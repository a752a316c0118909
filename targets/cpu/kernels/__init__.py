"""The CPU's kernels: packed products in register tiles, blocked attention, rows, element by element."""
