"""What is run on a machine with a GPU: by name, within its limits, with few files."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

# Prints its arguments; of the tests it fails, and in the folder of results it leaves a file.
PYTHON = """#!/usr/bin/env bash
echo "$@"
while [ $# -gt 0 ]; do
    if [ "$1" = --out ]; then mkdir -p "$2/deep/er" && echo 1 > "$2/deep/er/figures.json"; fi
    if [ "$1" = pytest ]; then exit 3; fi
    shift
done
"""


def gpu(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = ["bash", str(repository / ".ci" / "gpu"), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    path = tmp_path / "python"
    path.write_text(PYTHON)
    path.chmod(0o755)
    return path


def test_steps_have_names_and_fit_into_a_command_each(repository: Path) -> None:
    listed = [line.split() for line in gpu(repository, "--list").stdout.splitlines()]
    names = [name for name, _ in listed]
    assert names[:3] == ["devices", "recording", "tests"]
    assert len(names) == len(set(names))
    assert all(0 < int(limit) < 600 for _, limit in listed)


def test_all_steps_leave_an_archive_and_a_list(
    repository: Path, tmp_path: Path, python: Path
) -> None:
    out = tmp_path / "out"
    done = gpu(repository, out, python)
    assert done.returncode == 2  # the two steps of tests
    assert sorted(path.name for path in out.iterdir()) == ["results.tar.gz", "steps.txt"]
    listed = [line.split()[0] for line in gpu(repository, "--list").stdout.splitlines()]
    told = (out / "steps.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in told] == listed
    assert "recording: exit code 3" in told[1]
    with tarfile.open(out / "results.tar.gz") as archive:
        files = archive.getnames()
    assert {f"./{name}.txt" for name in listed} <= set(files)
    assert "./peers/deep/er/figures.json" in files


def test_a_step_by_name(repository: Path, tmp_path: Path, python: Path) -> None:
    done = gpu(repository, tmp_path / "out", python, "peers_64", "train")
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "out" / "steps.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in told] == ["peers_64", "train"]
    wrong = gpu(repository, tmp_path / "out", python, "peer")
    assert wrong.returncode == 2
    assert "there is no step peer" in wrong.stderr


def test_without_a_gpu_nothing_else_is_tried(
    repository: Path, tmp_path: Path, python: Path
) -> None:
    python.write_text("#!/usr/bin/env bash\nexit 1\n")
    done = gpu(repository, tmp_path / "out", python)
    assert done.returncode == 1
    assert "there is no GPU to work on" in done.stderr
    assert len((tmp_path / "out" / "steps.txt").read_text().splitlines()) == 1
