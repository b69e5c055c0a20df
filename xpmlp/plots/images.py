"""What a classifier sees and mistakes: confusion matrix, worst mistakes, first-layer weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpmlp.plots.figures import new_figure, save


def save_confusion(matrix: np.ndarray, path: Path) -> None:
    """Draw a confusion matrix: one row per true class, its share of the row as colour."""
    count = len(matrix)
    size = min(12.0, max(4.5, 0.55 * count + 1.5))
    figure = new_figure(size, size)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if count <= 20:
        for row, column in np.ndindex(matrix.shape):
            if matrix[row, column]:
                dark = share[row, column] > 0.5
                text = f"{matrix[row, column]:,}"
                axes.text(
                    column, row, text, ha="center", va="center", color="w" if dark else "k", size=9
                )
        axes.set_xticks(range(count))
        axes.set_yticks(range(count))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{int(np.trace(matrix)):,} of {int(matrix.sum()):,} right")
    save(figure, path)


def save_mistakes(
    images: np.ndarray,
    targets: Sequence[int],
    predicted: Sequence[int],
    confidence: Sequence[float],
    path: Path,
) -> None:
    """Draw images (n, H, W) with what they are and what they were taken for, worst first."""
    columns = min(5, max(1, len(images)))
    lines = -(-len(images) // columns) or 1
    figure = new_figure(1.9 * columns, 2.2 * lines)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for axes, image, target, guess, share in zip(
        grid, images, targets, predicted, confidence, strict=False
    ):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(f"{target}, taken for {guess}\n({share:.1%})", size=9)
    if not len(images):
        grid[0].text(0.5, 0.5, "no mistakes", ha="center")
    save(figure, path)


def save_first_layer(
    weights: np.ndarray, image_shape: tuple[int, int], path: Path, most: int = 100
) -> None:
    """Draw the weights (features, units) into each unit of the first layer as an image.

    Red is positive and blue negative, each unit scaled by its largest weight; the `most`
    units whose weights are largest are shown.
    """
    pixels = image_shape[0] * image_shape[1]
    norms = np.linalg.norm(weights[:pixels], axis=0)
    units = np.sort(np.argsort(-norms, kind="stable")[:most])
    columns = min(10, max(1, len(units)))
    lines = -(-len(units) // columns) or 1
    figure = new_figure(1.1 * columns, 1.25 * lines + 0.3)
    grid = np.atleast_1d(figure.subplots(lines, columns)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for axes, unit in zip(grid, units, strict=False):
        image = weights[:pixels, unit].reshape(image_shape)
        limit = float(np.abs(image).max()) or 1.0
        axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(f"{unit}", size=7, pad=2)
    figure.suptitle(f"weights into {len(units)} of {weights.shape[1]} first-layer units", size=10)
    save(figure, path)
