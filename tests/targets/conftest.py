"""What tests of targets share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.targets.unmapped import no_code_is_mapped


@pytest.fixture
def unmapped() -> Iterator[None]:
    """What would map code raises Mapped."""
    with no_code_is_mapped():
        yield
