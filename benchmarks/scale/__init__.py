"""What a fleet of machines does: figures measured on one, and a simulation of many: `python -m benchmarks.scale --help`."""
