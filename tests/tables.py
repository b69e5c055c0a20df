"""Tables as people have them, made at random: text, dates, missing values, a rare class."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROWS = 900


def customers(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """A frame with a column of every kind; about 3 % of the rows are of the class "left"."""
    rng = np.random.default_rng(seed)
    age, income = rng.integers(18, 80, rows).astype(float), np.exp(rng.normal(10, 1, rows))
    town = rng.choice(["Bonn", "Ulm", "Köln", "Trier"], rows, p=[0.5, 0.3, 0.15, 0.05])
    days = rng.integers(0, 900, rows)
    since = pd.to_datetime("2020-01-01") + pd.to_timedelta(days, unit="D")
    risk = (age - 50) / 15 + 1.5 * (town == "Ulm") - np.log(income / 22000)
    frame = pd.DataFrame(
        {
            "customer": [f"number {row}" for row in range(rows)],
            "age": age,
            "income": income.round(2),
            "town": town,
            "since": since.strftime("%Y-%m-%d"),
            "plan": rng.integers(1, 4, rows),
            "state": np.where(risk > np.quantile(risk, 0.97), "left", "stays"),
        }
    )
    frame.loc[rng.random(rows) < 0.05, "income"] = np.nan
    frame.loc[rng.random(rows) < 0.03, "town"] = None
    return frame


def houses(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """A frame whose column "price" follows from the others, but for a tenth of its deviation."""
    rng = np.random.default_rng(seed)
    area, year = rng.uniform(40, 200, rows), rng.integers(1900, 2020, rows)
    quarter = rng.choice(["north", "south"], rows)
    price = 3000.0 * area + 500.0 * (year - 1900) + 80_000.0 * (quarter == "south")
    noise = rng.normal(size=rows) * 0.1 * price.std()
    return pd.DataFrame({"area": area, "year": year, "quarter": quarter, "price": price + noise})
