"""What a shell may complete the arguments of commands with."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def complete_model(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell may complete a FILE or MODEL with: models that are built in, and files."""
    from tgraph.cli.models import BUILT_IN

    return [*(CompletionItem(name) for name in BUILT_IN if name.startswith(incomplete)), CompletionItem(incomplete, type="file")]
