"""Side by side with the other runtimes: `python -m benchmarks`. README.md says how to run it and how to read it."""
