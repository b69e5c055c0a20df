"""Speed: training against time, updates and epochs; throughput; beside other libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpmlp.plots.figures import new_figure, save

_SPEED_PANELS = (
    ("seconds", "seconds of training", "after the same time"),
    ("step", "updates of the weights", "after as many updates"),
    ("epoch", "epochs (passes over the data)", "after as many passes over the data"),
)


def save_speed(report: Mapping[str, Any], path: Path) -> None:
    """Draw test accuracy by seconds, updates and epochs, one curve per batch size and device."""
    figure = new_figure(13, 4.6)
    all_axes = figure.subplots(1, 3, sharey=True)
    devices = {result["device"] for result in report["results"]}
    for axes, (x, label, title) in zip(all_axes, _SPEED_PANELS, strict=True):
        for number, result in enumerate(report["results"]):
            points = [point for point in result["curve"] if point[x] > 0]
            axes.plot(
                [point[x] for point in points],
                [point["test_accuracy"] for point in points],
                color=f"C{number % 10}",
                linewidth=1.8,
                label=_batch_name(result) + (f", {result['device']}" if len(devices) > 1 else ""),
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_title(title, size=11)
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 1)
    all_axes[0].set_ylabel("test accuracy")
    all_axes[1].legend(title="examples per update", loc="lower right")
    figure.suptitle(f"{report['data']}; network {report['network']}", size=11)
    save(figure, path)


def _batch_name(result: Mapping[str, Any]) -> str:
    size = f"{result['batch_size']:,}"
    return f"{size} (full batch)" if result["full"] else size


def save_throughput(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw examples per second of forward passes against the size of the mini-batches."""
    figure = new_figure(7, 4.6)
    axes = figure.subplots()
    axes.plot(
        [row["batch_size"] for row in rows], [row["examples_per_second"] for row in rows], "o-"
    )
    best = max(rows, key=lambda row: row["examples_per_second"])
    axes.axvline(best["batch_size"], color="0.4", linestyle=":")
    axes.annotate(
        f"{best['examples_per_second']:,.0f} a second\nat {best['batch_size']:,}",
        (best["batch_size"], best["examples_per_second"]),
        xytext=(0, -48),
        textcoords="offset points",
        ha="center",
        backgroundcolor="w",
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("examples in a mini-batch")
    axes.set_ylabel("examples per second")
    axes.set_title(title, size=11)
    axes.grid(alpha=0.3, which="both")
    save(figure, path)


def save_peers(report: Mapping[str, Any], path: Path) -> None:
    """Draw the time of a step of each library, as a multiple of ours, at every batch size."""
    figure = new_figure(9, 3.8)
    axes = figure.subplots()
    results = report["results"]
    names = list(results[0]["peers"])
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        at = [place + (number - (len(names) - 1) / 2) * width for place in range(len(results))]
        ratios = [result["peers"][name]["ratio"] for result in results]
        color = "C3" if name == "xpmlp" else f"{0.35 + 0.13 * number:.2f}"
        bars = axes.bar(at, ratios, width * 0.92, label=name, color=color)
        shown = [
            f"{result['peers'][name]['median_ms']:.3g}\nms" if name == "xpmlp" else f"{ratio:.2g}×"
            for result, ratio in zip(results, ratios, strict=True)
        ]
        axes.bar_label(bars, shown, size=8, padding=2)
    axes.axhline(1, color="C3", linewidth=0.8)
    ticks = [f"{r['batch_size']:,} examples\n{r.get('optimizer', '')}" for r in results]
    axes.set_xticks(range(len(results)), ticks)
    axes.set_ylabel("time of a training step\n(xpmlp = 1)")
    axes.set_ylim(0, 1.2 * max(p["ratio"] for r in results for p in r["peers"].values()))
    axes.legend(ncols=len(names), loc="upper center", fontsize=8, frameon=False)
    axes.set_title(report["network"], size=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    save(figure, path)
