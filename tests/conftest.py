"""Settings of all tests. No deadline for a hypothesis example: how long one takes is a property of the machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tgraph", deadline=None, max_examples=60)
settings.load_profile("tgraph")
