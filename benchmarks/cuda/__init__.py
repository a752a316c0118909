"""tgraph on a GPU beside PyTorch: `python -m benchmarks.cuda`."""
