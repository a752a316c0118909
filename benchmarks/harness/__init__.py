"""Contenders in processes of their own, and the turns that they take: what `tgraph bench` and `python -m benchmarks` run."""
