"""The level of optimisation that everything takes unless it is told another. The pipelines themselves are in `passes`, which the
command line does not load to show a default."""

DEFAULT_LEVEL = "O3"
