"""docs/models.md: its table is of the models that there are."""

from __future__ import annotations

from pathlib import Path

from tgraph.models.families import FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def table() -> str:
    """The models as a table in Markdown."""
    rows = ["| `model_type` | architectures | paper |", "|---|---|---|"]
    for kind, family in FAMILIES.items():
        base, *heads = family.architectures
        names = ", ".join([f"`{base}`", *(f"`{name.removeprefix(base.removesuffix('Model'))}`" for name in heads)])
        paper = f"[{family.paper}](https://arxiv.org/abs/{family.paper})" if family.paper[0].isdigit() else family.paper
        rows.append(f"| `{kind}` | {names} | {paper} |")
    return "\n".join(rows)


def test_the_table_is_of_the_models_that_there_are() -> None:
    assert table() in PAGE, f"docs/models.md needs this table:\n{table()}"
