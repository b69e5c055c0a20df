"""What a network sees and mistakes: confusion matrix, worst mistakes, first-layer weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpmlp.plots.figures import new_figure, save

# Classes of more than this are not written into a matrix.
_MOST_WRITTEN = 20


def save_confusion(matrix: np.ndarray, path: Path, names: Sequence[object] | None = None) -> None:
    """Draw a confusion matrix: a row per true class, coloured by the shares of that row.

    What is right is blue, from no to all of a class; mistakes are red, from none to the most
    frequent of them.
    """
    count = len(matrix)
    size = min(12.0, max(5.0, 0.55 * count + 2.0))
    figure = new_figure(size + 1.0, size)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.eye(count, dtype=bool)
    mistakes = np.where(right, np.nan, share)
    most = float(np.nanmax(mistakes)) if count > 1 else 0.0
    blue = axes.imshow(np.where(right, share, np.nan), cmap="Blues", vmin=0, vmax=1)
    red = axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=most or 1.0)
    figure.colorbar(blue, ax=axes, shrink=0.6, label="right, share of the true class")
    figure.colorbar(red, ax=axes, shrink=0.6, label="mistakes, share of the true class")
    if count <= _MOST_WRITTEN:
        for row, column in np.ndindex(matrix.shape):
            if matrix[row, column]:
                limit = 0.5 if row == column else 0.5 * most
                color = "w" if share[row, column] > limit else "k"
                text = f"{matrix[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", color=color, size=9)
        shown = [str(name)[:15] for name in names or range(count)]
        turned = max(map(len, shown)) > 3
        axes.set_xticks(range(count), shown, rotation=90 if turned else 0)
        axes.set_yticks(range(count), shown)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{int(np.trace(matrix)):,} of {int(matrix.sum()):,} right")
    save(figure, path)


def save_mistakes(
    images: np.ndarray,
    targets: Sequence[object],
    predicted: Sequence[object],
    confidence: Sequence[float] | None,
    path: Path,
    columns: int = 5,
) -> None:
    """Draw images (n, H, W) or (n, H, W, channels) that were taken for something else.

    The worst comes first: the one whose true class was given the smallest probability.
    `confidence` are the probabilities of the predicted classes, None to leave them out.
    """
    columns = min(columns, max(1, len(images)))
    lines = -(-len(images) // columns) or 1
    figure = new_figure(1.9 * columns, 2.3 * lines + 0.6)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    taken = [
        f"{target}, taken for {guess}" for target, guess in zip(targets, predicted, strict=True)
    ]
    if confidence is not None:
        pairs = zip(taken, confidence, strict=True)
        taken = [f"{said}\nwith probability {share:.2f}" for said, share in pairs]
    for axes, image, said in zip(grid, images, taken, strict=False):
        axes.imshow(_shown(image), cmap="gray_r")
        axes.set_title(said, size=8)
    if not len(images):
        grid[0].text(0.5, 0.5, "no mistakes", ha="center")
    figure.suptitle("mistakes, those with the least probable true class first", size=10)
    save(figure, path)


def save_deformed(images: np.ndarray, path: Path) -> None:
    """Draw images as they are and as they are deformed (2, n, H, W), side by side."""
    side = max(1, round(images.shape[1] ** 0.5))
    lines = -(-images.shape[1] // side)
    figure = new_figure(2.2 * side + 0.6, 1.1 * lines + 0.6)
    halves = np.atleast_1d(np.asarray(figure.subfigures(1, 2)))
    low, high = float(images.min()), float(images.max())
    for half, some, title in zip(halves, images, ("as they are", "deformed"), strict=True):
        grid = np.atleast_1d(half.subplots(lines, side)).reshape(-1)
        for axes in grid:
            axes.axis("off")
        for axes, image in zip(grid, some, strict=False):
            axes.imshow(image, cmap="gray_r", vmin=low, vmax=high)
        half.suptitle(title, size=10)
    save(figure, path)


def _shown(image: np.ndarray) -> np.ndarray:
    """Return an image as it can be drawn: grey values as they are, colours from 0 to 1."""
    if image.ndim == 2:
        return image
    if image.shape[2] not in (3, 4):
        return np.asarray(image.mean(axis=2))
    low, high = float(image.min()), float(image.max())
    if image.dtype == np.uint8:
        low, high = 0.0, 255.0
    found: np.ndarray = (image.astype(np.float64) - low) / ((high - low) or 1.0)
    return found


def save_first_layer(
    weights: np.ndarray, image_shape: tuple[int, ...], path: Path, most: int = 100
) -> None:
    """Draw the weights (features, units) into each unit of the first layer as an image.

    Red is positive and blue negative, each unit scaled by its largest weight; the `most`
    units whose weights are largest are shown. Of colour images it is the mean over the channels.
    """
    pixels = int(np.prod(image_shape))
    norms = np.linalg.norm(weights[:pixels], axis=0)
    units = np.sort(np.argsort(-norms, kind="stable")[:most])
    columns = min(10, max(1, len(units)))
    lines = -(-len(units) // columns) or 1
    figure = new_figure(1.1 * columns + 1.2, 1.25 * lines + 0.6)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    drawn = None
    for axes, unit in zip(grid, units, strict=False):
        image = weights[:pixels, unit].reshape(image_shape)
        image = image.mean(axis=2) if image.ndim == 3 else image
        limit = float(np.abs(image).max()) or 1.0
        drawn = axes.imshow(image / limit, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_title(f"unit {unit}", size=7, pad=2)
    if drawn is not None:
        figure.colorbar(drawn, ax=list(grid), shrink=0.6, label="weight / the unit's largest")
    chosen = "" if len(units) == weights.shape[1] else ", those with the largest weights"
    title = f"weights into {len(units)} of {weights.shape[1]} first-layer units{chosen}"
    figure.suptitle(title, size=10)
    save(figure, path)
