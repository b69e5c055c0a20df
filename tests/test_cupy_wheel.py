"""The real CuPy wheel on a machine without a GPU: what a user there would see."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, has_gpu

from xpmlp import ACTIVATIONS, OPTIMIZERS


@pytest.fixture(scope="module")
def cupy_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install CuPy into a folder of its own: no environment needs it for these tests."""
    if has_gpu():
        pytest.skip("this machine has a usable GPU")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("no CuPy wheel for this platform")
    folder = tmp_path_factory.mktemp("cupy")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    result = subprocess.run(
        [*pip, "cupy-cuda13x>=14", "nvidia-cuda-nvrtc==13.*"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if result.returncode and "CI" not in os.environ:
        pytest.skip("CuPy cannot be downloaded here")
    assert result.returncode == 0, result.stderr
    return str(folder)


@pytest.mark.network
def test_all_that_is_fused_is_traced_by_cupy_and_compiled_for_cards(cupy_path: str) -> None:
    (library,) = Path(cupy_path).glob("nvidia/*/lib/libnvrtc.so.*")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("cupy_tracing.py"), library],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), cupy_path])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kernels) == 2 * (3 * len(ACTIVATIONS) + 7 + len(OPTIMIZERS) + 2)
    for kernel in kernels:
        if kernel["name"] == "identity_backward":  # a function that makes ones is no kernel
            continue
        assert kernel["error"] == "", kernel
        assert kernel["for"] == [80, 90, 100]
        if kernel["new"] is None:  # written by hand
            continue
        # New are activations, but for the one that does nothing, scaled features, and masks; all
        # else is changed where it lies.
        new = kernel["name"].endswith("_forward") and not kernel["name"].startswith("identity")
        new = new or kernel["name"] in ("scaling", "dropout")
        assert kernel["new"] == ([kernel["dtype"]] if new else []), kernel


@pytest.mark.network
@pytest.mark.parametrize("device", ["gpu", "gpu:3"])
def test_script_says_that_there_is_no_driver(
    cupy_path: str, repository: Path, tmp_path: Path, device: str
) -> None:
    result = subprocess.run(
        [sys.executable, repository / "scripts" / "train.py", "--device", device],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(repository), cupy_path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 4
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "no NVIDIA driver was found on this machine: install one" in result.stderr
    assert not list(tmp_path.iterdir())
