"""The default level of optimisation. The levels are in `passes`, which `tgraph --help` need not import to show the default."""

DEFAULT_LEVEL = "O3"
