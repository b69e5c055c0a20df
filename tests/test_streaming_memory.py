"""Peak memory of training from a file does not grow with the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

BASE_ROWS = 20_000  # 15.7 MB of images

# Trains as a user would, then says how much memory the process had at most.
PROGRAM = """
import resource, runpy, sys
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_bytes(repository: Path, folder: Path, times: int, *flags: str) -> int:
    path = folder / f"rows{times}.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        x = file.create_dataset("xdata", (times * BASE_ROWS, 784), "u1", chunks=(256, 784))
        for start in range(0, len(x), BASE_ROWS):
            x[start : start + BASE_ROWS] = rng.integers(0, 256, (BASE_ROWS, 784), "u1")
        file["ydata"] = np.arange(len(x), dtype=np.uint8) % 10
    script = repository / "scripts" / "train.py"
    code = f"import sys; sys.path.insert(0, {str(script.parent)!r}); sys.argv[0] = {str(script)!r}"
    arguments = ["--data", str(path), "--hidden", "16", "--val-size", "500", "--quiet", *flags]
    result = subprocess.run(
        [sys.executable, "-c", code + PROGRAM, *arguments, "--out", str(folder / f"run{times}")],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    path.unlink()
    return int(result.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory as Linux counts it")
@pytest.mark.parametrize(
    "flags", [("--batch-size", "1000", "--epochs", "1"), ("--batch-size", "full", "--steps", "2")]
)
def test_peak_memory_is_flat(repository: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    peaks = {
        times: peak_bytes(repository, tmp_path, times, *flags, "--stream", "yes")
        for times in (1, 4, 16)
    }
    print({times: f"{peak / 1e6:.0f} MB" for times, peak in peaks.items()})
    # The file of 16 has 235 MB more than that of 1.
    assert peaks[16] - peaks[1] < 25e6, peaks
