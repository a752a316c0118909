"""`tgraph export`: a graph or model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.completing import complete_model

if TYPE_CHECKING:
    from rich.console import Console


@click.command("export")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("-o", "--output", metavar="FILE.onnx", type=click.Path(path_type=Path), required=True, help="The model to write.")
@click.option("--opset", type=int, metavar="N", help="The version of ONNX's ops, from 13 on [default: 20].")
@click.option("--external", is_flag=True, help="Put the weights into a file beside it, FILE.onnx.data.")
@json_option({"wrote": [{"file": "string: a model that was written", "bytes": "integer: its size, without external data"}]})
def command(source: str, output: Path, opset: int | None, external: bool, as_json: bool) -> None:
    """Write a graph or model as ONNX; a program with several graphs as several files, model.encode.onnx.

    \b
    Examples:
      $ tgraph export bert-tiny -o tiny.onnx
      $ tgraph export bert-tiny -o tiny17.onnx --opset 17 --external
    """
    from tgraph.cli.console import show_bytes
    from tgraph.cli.models import load_model

    if output.suffix.lower() != ".onnx":
        raise click.UsageError(f"--output {output}: the name of an ONNX model ends in .onnx")
    load_model(source).dump(output, opset=opset, external=external or None)
    files = written(*sorted(output.parent.glob(f"{output.stem}*.onnx")) if not output.exists() else [output])

    def show(out: Console) -> None:
        for found in files:
            out.print(f"wrote {found['file']}: {show_bytes(found['bytes'])}", markup=False, soft_wrap=True)

    answer({"wrote": files}, as_json, show)
