"""`tgraph completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

import click

from tgraph.cli.answers import answer, json_option

VARIABLE = "_TGRAPH_COMPLETE"  # with which the shell asks for completions
WHERE = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/completions/tgraph.fish"}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(WHERE)))
@json_option({"shell": "string: the shell", "script": "string: what it has to run", "where": "string: a file to put it into"})
def command(shell: str, as_json: bool) -> None:
    """Print the script that makes a shell complete commands, options, models and files.

    Put `eval "$(tgraph completion bash)"` into ~/.bashrc, the same with zsh into ~/.zshrc; for fish, write the script to
    ~/.config/fish/completions/tgraph.fish.

    \b
    Examples:
      $ tgraph completion bash
      $ tgraph completion fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root()
    completes = found(root.command, {}, "tgraph", VARIABLE)
    script = completes.source_template % completes.source_vars()  # source() asks bash, if there is one
    answer({"shell": shell, "script": script, "where": WHERE[shell]}, as_json, lambda out: click.echo(script))
