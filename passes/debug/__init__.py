"""Finding faults of passes: validation against the reference, bisection, reduction of graphs, instruments."""
