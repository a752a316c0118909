"""Published models, built from `tgraph.nn`, with the weight names of their public checkpoints."""
