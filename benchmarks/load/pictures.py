"""The pictures of a report, as SVG files. Matplotlib is needed: it is in the `bench` group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

WIDTH_IN = 7.5
OURS = "#20639b"
OTHERS = "#9aa5b1"
FAILED = "#c0392b"
# A logarithmic axis has no zero: no late frame at all is drawn as this share.
LEAST_LATE_PERCENT = 1e-4


def _save(figure: Figure, path: Path) -> None:
    """The same content gives the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e3e6ea", linewidth=0.7)
    axes.set_axisbelow(True)


def draw_ladder(document: Mapping[str, Any], path: Path) -> None:
    """Share of late frames, and CPU of server and generator, against the number of streams."""
    rungs = document["rungs"]
    runs = [(rung["streams"], run) for rung in rungs for run in rung["runs"]]
    figure = Figure(figsize=(WIDTH_IN, 3.2))
    late, cpu = figure.subplots(1, 2)
    for rung in rungs:
        percent = max(100 * (1 - rung["onTime"]), LEAST_LATE_PERCENT)
        late.plot(rung["streams"], percent, "o", color=OURS if rung["passed"] else FAILED)
    late.axhline(100 * (1 - document["share"]), color=FAILED, linewidth=1, linestyle="--")
    late.set(yscale="log", xlabel="two-way streams", ylabel="late frames, %")
    for key, color, label in (("server", OURS, "server"), ("generator", OTHERS, "generator")):
        points = [(streams, run[key]["cpu"]) for streams, run in runs if key in run]
        cpu.plot(*zip(*points, strict=True), "o", color=color, label=label, markersize=4)
    cpu.set(xlabel="two-way streams", ylabel="cores used", ylim=(0, None))
    cpu.legend(frameon=False)
    for axes in (late, cpu):
        _style(axes)
        axes.set_xlim(left=0)
    figure.tight_layout()
    _save(figure, path)


def draw_comparison(
    servers: Mapping[str, Any], panels: Sequence[tuple[str, str]], path: Path
) -> None:
    """Bars of medians with their ranges, one panel for each figure of `panels` (name, label)."""
    names = list(servers)
    figure = Figure(figsize=(WIDTH_IN, 0.9 + 0.35 * len(names)))
    for axes, (name, label) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels, strict=True
    ):
        for row, server in enumerate(names):
            values = servers[server]["figures"].get(name)
            if values is None:
                continue
            median = values["median"]
            below, above = median - values["least"], values["most"] - median
            color = OURS if row == 0 else OTHERS
            axes.barh(row, median, color=color, xerr=[[below], [above]], capsize=3, height=0.6)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel(label)
        _style(axes)
    figure.axes[0].invert_yaxis()
    figure.tight_layout()
    _save(figure, path)
