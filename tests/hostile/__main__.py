"""`python -m tests.hostile`: hostile files for every parser. See tests/hostile/README.md."""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

COVERED = "tgraph,targets,passes,tests.hostile.parsers"


@click.command(context_settings={"max_content_width": 130})
@click.argument("parser", required=False)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--runs", type=int, default=1000, show_default=True, help="Inputs for each parser.")
@click.option("--seconds", type=float, default=math.inf, help="CPU time for --coverage, which ends then at the latest.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--coverage/--random", default=False, help="Guided by coverage, which takes atheris and one parser; or at random.")
@click.option("--guides", default=COVERED, show_default=True, help="Packages whose branches guide --coverage: with few, faster.")
@click.option("--corpus", type=click.Path(path_type=Path, file_okay=False),
              help="Folder that --coverage keeps inputs in, and goes on from: --runs is then that of all runs together.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the inputs that show a fault.")
def main(parser: str | None, files: tuple[Path, ...], runs: int, seconds: float, seed: int, coverage: bool, guides: str,
         corpus: Path | None, out: Path | None) -> None:
    """Hostile files for PARSER, or for all. With FILES, inputs of an earlier run, those alone.

    Exit status 1 if there is a fault: an exception that is no TGraphError, no end, too much memory, a file outside of the
    input's folder, another program, code of the file's.

    \b
    Examples:
      $ python -m tests.hostile --runs 300
      $ python -m tests.hostile text --coverage --runs 200000 --out faults --corpus corpus
      $ python -m tests.hostile text faults/text-0-error
    """
    with _instrumented(guides.split(",") if coverage else []):
        from tests.hostile.campaign import MEMORY, Campaign, at_random, by_coverage, elapsed
        from tests.hostile.parsers import PARSERS
        from tests.hostile.sandbox import limited_memory

        names = [parser] if parser else list(PARSERS)
        if not set(names) <= set(PARSERS) or (coverage and parser is None):
            raise click.UsageError(f"PARSER is one of {', '.join(PARSERS)}")
        folder = Path(tempfile.mkdtemp(prefix="tgraph-hostile-"))
        campaigns = [Campaign(name, PARSERS[name], Path(tempfile.mkdtemp(dir=folder)), out, seed, corpus and corpus / name)
                     for name in names]
        for campaign in campaigns:
            campaign.warm()
    faults = 0
    with limited_memory(MEMORY):
        for campaign in campaigns:
            start = time.process_time()
            if files:
                for file in files:
                    fault = campaign.run(file.read_bytes())
                    print(f"{file}: {fault.trace if fault else 'read, or refused'}")
            elif coverage:
                by_coverage(campaign, runs, seed, seconds, lambda: campaign.report(elapsed(start)))
            else:
                at_random(campaign, runs, seed)
            campaign.report(elapsed(start))
            faults += len(campaign.faults)
    raise SystemExit(bool(faults))


@contextlib.contextmanager
def _instrumented(packages: list[str]) -> Iterator[None]:
    if not packages:
        yield
        return
    import atheris

    with atheris.instrument_imports(include=packages):
        yield


if __name__ == "__main__":
    main()
