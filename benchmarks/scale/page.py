"""The tables and pictures of docs/scale.md, between marks: <!-- table: answer --> ... <!-- end -->."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.scale import tables, validate
from benchmarks.scale.figures import Figures
from benchmarks.scale.fleet import bounds
from benchmarks.scale.tensor import H100, LLAMA_7B, LLAMA_70B, WORKERS, Call, layer_cost

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
MARKED = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(path: Path, figures: Figures) -> list[Path]:
    """Fill the page, and draw the pictures beside it if matplotlib is here. Returns what was written.

    Raises KeyError for a mark that names no table.
    """
    made = {"load": lambda: [tables.load_note(figures)],
            "answer": lambda: tables.answer_table(figures), "machine": lambda: tables.machine_table(figures),
            "speed": lambda: tables.speed_table(figures), "start": lambda: tables.start_table(figures),
            "bounds": lambda: tables.bound_table(figures), "parts": lambda: tables.part_table(figures),
            "losses": lambda: tables.loss_table(figures), "tensor": tables.tensor_table,
            "validation": lambda: tables.validation_table(figures, validate.load(figures))}
    tables_of = {m["name"]: "\n".join(made[m["name"]]()) for m in MARKED.finditer(path.read_text(encoding="utf-8"))}
    text = path.read_text(encoding="utf-8")  # again: that took a while
    path.write_text(MARKED.sub(lambda m: f"{m[1]}{tables_of[m['name']]}\n{m[3]}", text), encoding="utf-8")
    try:
        import matplotlib
    except ImportError:
        return [path]
    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tgraph", "font.size": 8})
    return [path, draw_fleet(path.with_name("scale_fleet.svg"), figures), draw_tensor(path.with_name("scale_tensor.svg"))]


def draw_fleet(path: Path, figures: Figures) -> Path:
    """Documents an hour by cores, with what bounds them; efficiency by the size of parts."""
    from matplotlib import pyplot

    job = figures.job("minilm", tables.DOCUMENTS, tables.natural(tables.MEANS["sentences"]))
    figure, (left, right) = pyplot.subplots(1, 2, layout="constrained", figsize=(9, 3))
    cores = [*tables.CORES, 4 * tables.CORES[-1]]
    for storage, colour in ((0.2e9, "#d62728"), (1e9, "#1f77b4")):
        runs = [tables.best_run(job, tables.usual_fleet(count, storage=storage)) for count in cores]
        left.plot(cores, [r.documents_per_hour for r in runs], "o-", color=colour, markersize=3,
                  label=f"storage of {storage / 1e9:g} GB/s")
        left.plot(cores, [3600 * job.documents / max(bounds(r.job, r.fleet).values()) for r in runs], "--", color=colour,
                  linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="cores", ylabel="documents an hour", title="MiniLM, sentences of 24 tokens")
    left.set_xticks(cores, [str(c) for c in cores])
    paragraphs = figures.job("minilm", tables.DOCUMENTS, tables.natural(tables.MEANS["paragraphs"]))
    for name, fleet in tables.part_fleets(256).items():
        found = [tables.run(replace(paragraphs, part=part), fleet).efficiency for part in tables.PARTS]
        right.plot(tables.PARTS, [100 * share for share in found], "o-", markersize=3, label=name)
    right.set(xscale="log", xlabel="documents of a part", ylabel="% of the time computing",
              title="256 cores, 10 million paragraphs", ylim=(0, 100))
    return _finish(figure, (left, right), path)


def draw_tensor(path: Path) -> Path:
    """How much sooner a layer is done on several H100, by tokens."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, layout="constrained", figsize=(9, 3), sharey=True)
    batches = [2 ** n for n in range(14)]
    for axes, shape in zip(panels, (LLAMA_7B, LLAMA_70B)):
        for workers in WORKERS[1:]:
            gains = []
            for tokens in batches:
                call = Call(tokens, 1, 2048) if tokens <= 256 else Call(tokens // 256, 256, 256)
                gains.append(layer_cost(H100, shape, call, 1).seconds / layer_cost(H100, shape, call, workers).seconds)
            axes.plot(batches, gains, "o-", markersize=3, label=f"{workers} GPUs")
        axes.set(xscale="log", title=shape.name,
                 xlabel="tokens of a call (to 256: steps with a past of 2048; then prompts of 256)")
    panels[0].set_ylabel("times as fast as one GPU")
    return _finish(figure, panels, path)


def _finish(figure: object, panels: Sequence[object], path: Path) -> Path:
    from matplotlib import pyplot
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    for axes in panels:
        assert isinstance(axes, Axes)
        axes.grid(linewidth=0.3)
        axes.legend(fontsize=6)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
