"""Imports all that worker processes need, in the process that they are forked from."""

from contextlib import suppress

import tgraph.testing.examination
import tgraph.testing.generator.program

with suppress(ImportError):
    import onnxruntime  # noqa: F401
with suppress(ImportError):
    import tgraph.testing.torch_run  # noqa: F401
