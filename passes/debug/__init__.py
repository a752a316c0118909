"""Looking for a pass that is wrong: validation against the reference, bisection, reduction of graphs, instruments."""
