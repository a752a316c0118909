"""The distribution as users get it: the sources that go into it, and what a wheel must hold and may not."""

from __future__ import annotations

import email
import shutil
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tgraph", "passes", "targets")


def copy_sources(folder: Path) -> Path:
    """A copy of the files that are, or will be, in the repository: a build writes beside them. Returns its folder."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    if listed.returncode or not names:  # an sdist has no repository
        ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
        return Path(shutil.copytree(ROOT, folder / "sources", ignore=ignored))
    for name in names:
        if (ROOT / name).is_file():
            (folder / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "sources" / name)
    return folder / "sources"


def data_files() -> set[str]:
    """The files of the packages that are no Python code, by their paths in the repository."""
    return {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*")
            if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts}


def problems_of(wheel: Path) -> list[str]:
    """What is wrong with a wheel's content: nothing, of a good one."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    code = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    found = [f"{name} is missing" for name in sorted((code | data_files()) - names)]
    found += [f"{name} has no place there" for name in sorted(names - code - data_files()) if not name.startswith(f"{info}/")]
    if f"{info}/licenses/LICENSE" not in names:
        found.append("there is no licence")
    if metadata["License-Expression"] != "Apache-2.0" or metadata["Requires-Python"] != ">=3.10":
        found.append(f"it says {metadata['License-Expression']}, {metadata['Requires-Python']}")
    if metadata["Description-Content-Type"] != "text/markdown" or "```python" not in metadata.get_payload():
        found.append("its description is not the README")
    return found + ([] if "tgraph = tgraph.cli:main" in scripts else ["it has no command tgraph"])
