"""One picture of all results of a machine: each peer's time over tgraph's, and how near tgraph is to the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.records import Record, load

COLOURS = {"onnxruntime": "#1f77b4", "openvino": "#9467bd", "torch": "#d62728", "torch.compile": "#ff7f0e",
           "ctranslate2": "#8c564b"}


def draw(folder: Path, order: Sequence[str]) -> Path | None:
    """Write speed.svg into the folder of a machine. None without matplotlib, or without a peer's times."""
    try:
        import matplotlib
    except ImportError:
        return None
    found = load(folder)
    records = [r for name in sorted(found, key=lambda n: order.index(n) if n in order else len(order)) for r in found[name]
               if r.flops and r.best_peer is not None]
    if not records:
        return None
    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tgraph", "font.size": 8})
    from matplotlib import pyplot

    figure, (ratios, roofline) = pyplot.subplots(1, 2, sharey=True, width_ratios=(3, 1), layout="constrained",
                                                 figsize=(9, 1.2 + 0.19 * len(records)))
    places = list(range(len(records)))
    _ratios(ratios, records)
    valid = [0.0 if r.ours.name in r.invalid else 100 * r.of_roofline(r.ours) for r in records]
    roofline.barh(places, valid, color="#2ca02c", height=0.6)
    roofline.set_xlabel("tgraph: % of the roofline")
    roofline.set_xlim(0, 100)
    roofline.grid(axis="x", linewidth=0.3)
    ratios.set_yticks(places, [f"{r.workload} {r.point}" for r in records])
    ratios.invert_yaxis()
    path = folder / "speed.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _ratios(axes: object, records: Sequence[Record]) -> None:
    """A dot a peer, at its time over tgraph's; the line from quartile to quartile of the rounds."""
    from matplotlib.axes import Axes
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    assert isinstance(axes, Axes)
    for name in dict.fromkeys(row.name for r in records for row in r.rows if row is not r.ours):
        at = [(place, row.ratio_to(r.ours)) for place, r in enumerate(records) for row in r.rows if row.name == name]
        middle = [ratio[1] for _, ratio in at]
        spread = [[ratio[1] - ratio[0] for _, ratio in at], [ratio[2] - ratio[1] for _, ratio in at]]
        runtime, _, bits = name.partition(" ")
        axes.errorbar(middle, [place for place, _ in at], xerr=spread, fmt="s" if bits else "o", markersize=4, linewidth=1,
                      color=COLOURS.get(runtime, "#2ca02c"), markerfacecolor="white" if bits else None, label=name)
    axes.axvline(1.0, color="#2ca02c", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8])
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel("time over tgraph's: right of the line tgraph is faster")
    axes.legend(fontsize=6, loc="lower right")
