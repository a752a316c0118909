"""Pages of the site that lie elsewhere in the project, and links between all of them.

README, CHANGELOG, CONTRIBUTING and the pages of benchmarks and tests are pages of the site as they are. Files of code that a page
links to become pages that show them. Links are those of the project's folders, as GitHub follows them.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # of the project -> of the site
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/RESULTS.md": "benchmarks/results.md",
}
PICTURES = (".png", ".svg")
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """The pages from elsewhere, and what they and the pages of docs/ link to."""
    waiting = [*PAGES, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    known = set(waiting)
    for place in PAGES:
        files.append(File.generated(config, PAGES[place], content=(ROOT / place).read_text(encoding="utf-8")))
    while waiting:
        place = waiting.pop()
        if not place.endswith(".md"):
            continue
        for _, target, _ in LINK.findall((ROOT / place).read_text(encoding="utf-8")):
            found = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
            if found in known or found.startswith("docs/") or not (ROOT / found).exists():
                continue  # mkdocs itself finds what is missing
            known.add(found)
            waiting.append(found)
            files.append(shown(found, config))
    return files


def shown(place: str, config: Any) -> File:
    """A file or folder of the project as a page, or as it is if it is no text."""
    path = ROOT / place
    if path.is_dir():
        names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir() if not p.name.startswith(("_", ".")))
        text = f"# {place}\n\n" + "\n".join(f"- `{name}`{first_line(path / name)}" for name in names)
    elif path.suffix == ".md":
        text = path.read_text(encoding="utf-8")
    elif path.suffix not in PICTURES:
        kind = {".py": "python"}.get(path.suffix, path.suffix[1:])
        text = f"# {place}\n\n````{kind}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n"
    else:
        return File.generated(config, place, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
    hidden = "---\nsearch:\n  exclude: true\n---\n\n"
    return File.generated(config, site_uri(place), content=hidden + text, inclusion=InclusionLevel.NOT_IN_NAV)


def first_line(path: Path) -> str:
    """What a file of Python says of itself; empty for other files."""
    found = re.match(r'"""(.*?)("""|\n)', path.read_text(encoding="utf-8")) if path.suffix == ".py" else None
    return f": {found[1]}" if found else ""


def site_uri(place: str) -> str:
    """The page of the site that a file of the project is."""
    if place in PAGES:
        return PAGES[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if (ROOT / place).is_dir():
        return f"{place}/index.md"
    return place if place.endswith((".md", *PICTURES)) else f"{place}.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page with its links as they are in the site."""
    here = page.file.src_uri
    place = next((of for of, uri in PAGES.items() if uri == here), None)
    if place is None:
        place = here if (ROOT / here).exists() else f"docs/{here}"

    def moved(link: re.Match[str]) -> str:
        found = posixpath.normpath(posixpath.join(posixpath.dirname(place), link[2]))
        if not (ROOT / found).exists():
            return link[0]
        return link[1] + posixpath.relpath(site_uri(found), posixpath.dirname(here) or ".") + link[3]

    return LINK.sub(moved, markdown)
