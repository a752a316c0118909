"""A small disk in a folder's place, for one command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

MOUNT = 'mount -t tmpfs -o {options} none "$1" && shift && exec "$@"'


def mounted(folder: Path, options: str) -> tuple[str, ...]:
    """What to put before a command, so that it finds a disk with these options (`size=40k`, `ro`) at a folder.

    Skips the test on a system that gives nobody the right to mount one.
    """
    place = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT.format(options=options), "sh", str(folder))
    try:
        subprocess.run([*place, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk needs the right to mount one, which this system does not give")
    return place
