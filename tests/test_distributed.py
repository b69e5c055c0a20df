"""Training shared out over ranks: the same network, whatever their number; all end together."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY
from data_files import write_h5
from scripts_at_work import command, environment, run_script

from xpmlp import fit_normalization, select_backend
from xpmlp.backends import Backend
from xpmlp.backends.alone import Ranks
from xpmlp.backends.ranks.mpi import MpiRanks
from xpmlp.backends.ranks.nccl import nccl_of
from xpmlp.data import Batch, Examples, prepare, read_data, shared_out
from xpmlp.data.batches import Draw, ShuffledBatches
from xpmlp.data.shared import SharedBatches, SharedExamples
from xpmlp.data.stored import StoredExamples, stored
from xpmlp.data.streaming import StreamedExamples
from xpmlp.data.targets import Targets
from xpmlp.errors import DataError, UsageError
from xpmlp.runs.checkpoint import load_checkpoint

MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_mpi = pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec beside this Python")

Finished = subprocess.CompletedProcess[str]


def start(ranks: int, line: list[str], cwd: Path) -> subprocess.Popen[str]:
    path = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"
    return subprocess.Popen(
        [str(MPIEXEC), "-n", str(ranks), *line],
        env=environment() | {"PYTHONPATH": path},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> Finished:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Finished(process.args, process.returncode, out, err)


def train(ranks: int, *flags: str | Path, cwd: Path) -> Finished:
    return finished(start(ranks, command("train.py", "--distributed", "mpi", *flags), cwd))


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    """What one process without MPI comes to."""
    import on_ranks

    backend = select_backend("cpu", "float64")
    found = on_ranks.results(backend)
    few = on_ranks.trained(backend, on_ranks.CASES["penalties"], steps=20)
    found |= {f"staged: {name}": array for name, array in few.items()}
    return found | on_ranks.stopped_once(backend)


@needs_mpi
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_any_number_of_ranks_trains_the_same_network(
    ranks: int, alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    line = [sys.executable, "-W", "error", str(REPOSITORY / "tests" / "on_ranks.py"), "out.npz"]
    done = finished(start(ranks, line, tmp_path))
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as file:
        found = dict(file)
    assert found.keys() == alone.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, alone[name], rtol=0, atol=1e-10, err_msg=name)


def compare(one: Path, other: Path) -> None:
    states = [load_checkpoint(folder / "checkpoint.h5") for folder in (one, other)]
    for name, array in states[0].params.items():
        np.testing.assert_allclose(array, states[1].params[name], atol=1e-10, err_msg=name)
    tables = [np.genfromtxt(f / "metrics.csv", delimiter=",", skip_header=1) for f in (one, other)]
    np.testing.assert_allclose(tables[0][:, :7], tables[1][:, :7], atol=1e-9)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    for name in ("status", "steps", "best_step", "test_accuracy"):
        assert summaries[0][name] == summaries[1][name]


RUN = ("--dtype", "float64", "--hidden", "15", "--quiet", "--val-size", "97")


@needs_mpi
def test_script_stops_early_alike_and_one_rank_writes(tmp_path: Path) -> None:
    flags = (*RUN, "--lr", "2", "--patience", "2", "--epochs", "60", "--diagnostics")
    assert run_script("train.py", *flags, "--out", "one", cwd=tmp_path).returncode == 0
    done = train(3, *flags, "--out", "three", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)  # one object: the other ranks print nothing
    assert (result["status"], result["ranks"]) == ("early_stopped", 3)
    assert 0 < result["all_reduce_seconds"] <= result["all_reduce_seconds_at_most"]
    assert done.stderr == ""
    compare(tmp_path / "one", tmp_path / "three")
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("one", "three")]
    assert files[0] == files[1]


@needs_mpi
@pytest.mark.parametrize("normalize", ["standard", "feature", "unit"])
def test_hdf5_rows_are_shared_out_as_if_all_were_read(tmp_path: Path, normalize: str) -> None:
    digits = read_data("digits")
    assert isinstance(digits.train, Examples)
    write_h5(tmp_path / "d.h5", digits.train.x[:501].astype("float32"), digits.train.y[:501])
    flags = (*RUN, "--data", "d.h5", "--normalize", normalize, "--steps", "40", "--batch-size")
    assert run_script("train.py", *flags, "60", "--out", "one", cwd=tmp_path).returncode == 0
    done = train(3, *flags, "60", "--out", "three", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    compare(tmp_path / "one", tmp_path / "three")


@needs_mpi
def test_another_number_of_ranks_goes_on(tmp_path: Path) -> None:
    flags = (*RUN, "--batch-size", "50", "--optimizer", "adam", "--lr", "0.003", "--dropout", "0.2")
    assert (
        run_script("train.py", *flags, "--steps", "90", "--out", "one", cwd=tmp_path).returncode
        == 0
    )
    assert train(4, *flags, "--steps", "30", "--out", "more", cwd=tmp_path).returncode == 0
    done = train(2, "--resume", "--steps", "60", "--quiet", "--out", "more", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # One by itself needs no MPI.
    assert "distributed" not in json.loads((tmp_path / "more" / "config.json").read_text())
    done = run_script(
        "train.py", "--resume", "--steps", "90", "--quiet", "--out", "more", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    one, more = (load_checkpoint(tmp_path / name / "checkpoint.h5") for name in ("one", "more"))
    for name, array in one.params.items():
        np.testing.assert_allclose(array, more.params[name], atol=1e-10)


@needs_mpi
def test_a_regression_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    """Mean and deviation of its targets are sums, which differ by rounding; a rank has no row."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(301, 3))
    np.savez(tmp_path / "d.npz", x=x, y=1000 * x[:, 0] + rng.normal(size=301))
    keys = ("--x-key", "x", "--y-key", "y")
    flags = (
        "--data",
        "d.npz",
        *keys,
        "--hidden",
        "4",
        "--val-size",
        "2",
        "--quiet",
        "--out",
        "run",
    )
    done = train(3, *flags, "--steps", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = train(2, "--resume", "--steps", "6", "--quiet", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@needs_mpi
def test_labels_that_are_texts_are_the_same_on_all_ranks(tmp_path: Path) -> None:
    names = np.array(["left", "stays"] * 40, dtype=object)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = np.arange(240.0).reshape(80, 3)
        file.create_dataset("y", data=names, dtype=h5py.string_dtype())
    keys = ("--x-key", "x", "--y-key", "y")
    flags = ("--data", "d.h5", *keys, "--epochs", "1", "--quiet", "--out", "run")
    done = train(2, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@needs_mpi
def test_ranks_that_differ_are_refused(tmp_path: Path) -> None:
    line = command("train.py", "--distributed", "mpi", "--quiet", "--out", "run")
    process = start(1, [*line, "--lr", "0.1", ":", "-n", "1", *line, "--lr", "0.2"], tmp_path)
    done = finished(process)
    assert done.returncode == 2
    assert "rank 1 is not like rank 0: --lr is 0.2 there and 0.1 here" in done.stderr
    digits = read_data("digits").train
    assert isinstance(digits, Examples)
    for folder, rows in (("a", slice(0, 300)), ("b", slice(300, 600))):
        (tmp_path / folder).mkdir()
        write_h5(tmp_path / folder / "d.h5", digits.x[rows], digits.y[rows])
    done = apart("--data", "d.h5", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "the training data is 300 examples" in done.stderr
    # The same labels, and a first row alike, are not the same data.
    (tmp_path / "b" / "d.h5").unlink()
    write_h5(tmp_path / "b" / "d.h5", digits.x[:300] // 2 + (digits.x[:300] > 3), digits.y[:300])
    done = apart("--data", "d.h5", "--out", "run", cwd=tmp_path)
    assert "the training data is 300 examples" in done.stderr


@needs_mpi
def test_library_refuses_ranks_with_another_learning_rate(tmp_path: Path) -> None:
    program = (
        "import on_ranks as r; b = r.select_backend('cpu', 'float64', distributed='mpi');"
        "case = {'optimizer': r.SGD(), 'learning_rate': 0.1 * (b.ranks.rank + 1)};"
        "r.trained(b, case)"
    )
    done = finished(start(2, [sys.executable, "-c", program], tmp_path))
    assert done.returncode == 1
    assert "rank 1 is not like rank 0: the model is" in done.stderr


@needs_mpi
def test_error_on_one_rank_ends_all_with_its_traceback(tmp_path: Path) -> None:
    program = (
        "import on_ranks as r; b = r.select_backend('cpu', 'float64', distributed='mpi')\n"
        "if b.ranks.rank == 1: raise RuntimeError('out of luck')\n"
        "r.trained(b, r.CASES['batches'], steps=10**9)"
    )
    begin = time.monotonic()
    done = finished(start(3, [sys.executable, "-c", program], tmp_path))
    assert done.returncode == 1
    assert "rank 1: Traceback" in done.stderr
    assert "out of luck" in done.stderr
    assert time.monotonic() - begin < 60


BEGIN = "import on_ranks as r; b = r.select_backend('cpu', 'float64', distributed='mpi')"
FAILURES = {
    "an early end": (
        "import time\n"
        "if b.ranks.rank == 1: raise SystemExit('enough')\n"
        "r.trained(b, r.CASES['batches'], steps=10**9)",
        r"rank 1 \(process \d+ on \S+\) has ended, and another rank waits for it",
    ),
    "examples not shared out": (
        "s = r.initial_state(r.MLP((5, 9, 3)), r.SGD(), seed=0, backend=b)\n"
        "x = r.examples(9, 0).to_device(b)\n"
        "r.evaluate(r.MLP((5, 9, 3)), s.params, x, backend=b)",
        "share them out",
    ),
}


@needs_mpi
@pytest.mark.parametrize("case", FAILURES)
def test_failures_of_programs_end_all(case: str, tmp_path: Path) -> None:
    program, match = FAILURES[case]
    program = (
        "import on_ranks as r; b = r.select_backend('cpu', 'float64', distributed='mpi')\n"
        + program
    )
    begin = time.monotonic()
    done = finished(start(3, [sys.executable, "-c", program], tmp_path))
    assert done.returncode != 0
    assert re.search(match, done.stderr), done.stderr
    assert time.monotonic() - begin < 30


TOGETHER = """
from pathlib import Path
import numpy as np
import on_ranks as r
from xpmlp import DivergedError, Plan, StackTraining, Training, UsageError
b = r.select_backend("cpu", "float64", distributed="mpi")
rank, mlp, train = b.ranks.rank, r.MLP((5, 4, 3)), r.on_ranks(r.examples(60, 0), b)
plan, found = Plan(steps=9, batch_size=10, log_every=3), []

one = Training(r.Model(mlp), train, plan, backend=b, on_step=lambda step: step == 5 and rank == 0)
found += [one.run().step, one.state.status, one.run().step, one.state.status]

clock = lambda rows: rank == 1 and rows[-1].step == 6
timed = Plan(steps=9, batch_size=10, log_every=3, stop=clock)
found.append(Training(r.Model(mlp), train, timed, backend=b).run().step)

try:
    StackTraining([r.Model(mlp, learning_rate=0.1 + rank)] * 2, train, plan, backend=b)
except UsageError as error:
    found.append("rank 1 is not like rank 0: the model" in str(error))

rows = r.examples(60, 0)
rows.x[-8:] = np.nan
far = r.on_ranks(rows, b)
try:
    Training(r.Model(mlp), far, Plan(steps=3, batch_size=None), backend=b).run()
except DivergedError as error:
    found.append(str(error).partition("it began in ")[2].partition(":")[0])
Path(f"rank {rank}").write_text(str(found))
"""


@needs_mpi
def test_ranks_decide_together(tmp_path: Path) -> None:
    """A stop that is over, a rule that looks at a clock, a stack, and where a divergence began."""
    done = finished(start(2, [sys.executable, "-c", TOGETHER], tmp_path))
    assert done.returncode == 0, done.stderr
    # One rank's wish at step 5 comes with the sum of step 6.
    expected = [6, "interrupted", 9, "completed", 6, True, "the features"]
    assert [(tmp_path / f"rank {k}").read_text() for k in range(2)] == [str(expected)] * 2


@needs_mpi
def test_schedules_without_a_name_are_alike(tmp_path: Path) -> None:
    program = (
        "import on_ranks as r; b = r.select_backend('cpu', 'float64', distributed='mpi')\n"
        "r.trained(b, r.CASES['batches'] | {'schedule': lambda step, epoch: 0.9**step}, steps=9)"
    )
    done = finished(start(2, [sys.executable, "-c", program], tmp_path))
    assert done.returncode == 0, done.stderr


# Runs a script in a folder of its own on each rank, as on machines whose disks differ.
APART = (
    "import os, runpy, sys\n"
    "os.chdir('ab'[int(os.environ['PMI_RANK'])]); sys.argv = sys.argv[1:]\n"
    "sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def apart(*flags: str, cwd: Path) -> Finished:
    python, *rest = command("train.py", "--distributed", "mpi", "--quiet", *flags)
    script = rest[rest.index("error") + 1 :]
    return finished(start(2, [python, "-c", APART, *script], cwd))


@needs_mpi
def test_run_that_is_missing_on_one_rank_ends_all(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
    done = run_script("train.py", "--epochs", "1", "--quiet", "--out", "run", cwd=tmp_path / "a")
    assert done.returncode == 0
    done = apart("--resume", "--out", "run", cwd=tmp_path)
    assert done.returncode == 6
    assert "there is no run in it" in done.stderr


@needs_mpi
@pytest.mark.parametrize("written", [("--distributed", "mpi"), ("--distributed=mpi",)])
def test_wrong_flag_on_one_rank_ends_all(written: tuple[str, ...], tmp_path: Path) -> None:
    line = command("train.py", *written, "--quiet", "--out", "run")
    done = finished(start(1, [*line, ":", "-n", "1", *line, "--epochz", "1"], tmp_path))
    assert done.returncode == 2
    assert "--epochz" in done.stderr


@needs_mpi
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process as Linux does")
def test_full_disk_on_the_rank_that_writes_ends_all(tmp_path: Path) -> None:
    process = under_way(3, tmp_path)
    writer = process_of_rank(0, tmp_path)
    # From now on it cannot write a file of more than so many bytes.
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (1000, 1000))
    done = finished(process)
    assert done.returncode == 6
    assert "cannot be written" in done.stderr


LIFELINE = REPOSITORY / "xpmlp" / "backends" / "ranks" / "lifeline.py"
IMPATIENT = """
import json, runpy, sys
keeper = runpy.run_path(sys.argv[1])
keep = keeper["keep"]
keep.__globals__["_CONNECT_SECONDS"] = 0.2
keep(*json.loads(sys.stdin.readline()))
"""


def test_strangers_at_the_keepers_door_are_turned_away() -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-I", str(LIFELINE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    keeper.stdin.write(json.dumps(["127.0.0.1", "ab" * 16, ["rank 0", "rank 1"]]) + "\n")
    keeper.stdin.flush()
    address = ("127.0.0.1", int(keeper.stdout.readline()))
    socket.create_connection(address).close()
    silent = [socket.create_connection(address) for _ in range(30)]
    with socket.create_connection(address) as stranger:
        stranger.sendall(b"GET / HTTP/1.1 pleas")
        lines = [socket.create_connection(address) for _ in range(2)]
        for rank, line in enumerate(lines):
            line.sendall(bytes.fromhex("ab" * 16) + rank.to_bytes(4, "little"))
        lines[1].sendall(b".")
        assert lines[0].recv(5, socket.MSG_WAITALL) == b",\1\0\0\0"
        lines[0].close()  # without a goodbye
        _, said = keeper.communicate(timeout=30)
    assert said == (
        "rank 0 has died and all ranks end: what was saved last is whole, resume from it\n"
    )
    for line in (lines[1], *silent):
        line.close()


def test_a_watch_that_not_all_reach_says_so() -> None:
    order = json.dumps(["127.0.0.1", "ab" * 16, ["rank 0", "rank 1"]]) + "\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", IMPATIENT, str(LIFELINE)],
        input=order,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "rank 0, rank 1 did not reach the watch of ranks in 0.2 s" in done.stderr


def under_way(ranks: int, folder: Path) -> subprocess.Popen[str]:
    """Start an endless run and return it when its first checkpoint is there."""
    flags = (*RUN, "--steps", "1000000000", "--log-every", "100", "--out", "run")
    process = start(ranks, command("train.py", "--distributed", "mpi", *flags), folder)
    deadline = time.monotonic() + 60
    while not (folder / "run" / "checkpoint.h5").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def process_of_rank(rank: int, folder: Path) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            here = (entry / "cwd").readlink() == folder.resolve()
            values = (entry / "environ").read_bytes().split(b"\0")
            is_python = b"python" in (entry / "exe").readlink().name.encode()
            keeper = b"lifeline.py" in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if here and is_python and not keeper and f"PMI_RANK={rank}".encode() in values:
            return int(entry.name)
    raise AssertionError(f"rank {rank} is not there")


@needs_mpi
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
@pytest.mark.parametrize("rank", [0, 2])
def test_rank_that_dies_is_named_and_its_run_goes_on(rank: int, tmp_path: Path) -> None:
    process = under_way(3, tmp_path)
    victim = process_of_rank(rank, tmp_path)
    os.kill(victim, signal.SIGKILL)
    begin = time.monotonic()
    done = finished(process)
    assert time.monotonic() - begin < 20
    assert done.returncode not in (0, None)
    assert re.search(rf"rank {rank} \(process {victim} on \S+\) has died", done.stderr)
    saved = load_checkpoint(tmp_path / "run" / "checkpoint.h5").numbers["step"]
    assert saved > 0
    flags = ("--resume", "--steps", str(saved + 100), "--quiet", "--out", "run", "--json")
    done = train(2, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == saved + 100


@needs_mpi
def test_ctrl_c_saves_once_and_ends_all(tmp_path: Path) -> None:
    process = under_way(2, tmp_path)
    process.send_signal(signal.SIGINT)
    done = finished(process)
    assert done.returncode == 130, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    state = load_checkpoint(tmp_path / "run" / "checkpoint.h5")
    assert state.numbers["step"] == summary["steps"]


@needs_mpi
def test_divergence_ends_all_with_one_message(tmp_path: Path) -> None:
    flags = ("--lr", "1e30", "--activation", "relu", "--quiet", "--out", "run")
    done = train(3, *flags, cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr.count("the training loss is") == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "diverged"


def test_who_is_interrupted_in_a_sum_no_longer_waits() -> None:
    ranks = MpiRanks.__new__(MpiRanks)

    def waits() -> None:
        with ranks.together():
            assert ranks._waiting_since is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        waits()
    assert ranks._waiting_since is None


@needs_mpi
def test_streaming_is_refused(tmp_path: Path) -> None:
    write_h5(tmp_path / "d.h5", np.arange(400, dtype="uint16").reshape(100, 4), np.arange(100) % 2)
    flags = ("--data", "d.h5", "--stream", "yes", "--epochs", "1", "--quiet")
    done = train(2, *flags, "--out", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "start another run without it" in done.stderr
    assert run_script("train.py", *flags, "--out", "s", cwd=tmp_path).returncode == 0
    done = train(2, "--resume", "--epochs", "2", "--out", "s", cwd=tmp_path)
    assert done.returncode == 2
    assert "start another run without it" in done.stderr


# Without MPI.


class Some(Ranks):
    """One of several ranks that never meet."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count


class Together(Some):
    """One of several ranks whose sums are those of arrays prepared for it."""

    def __init__(self, rank: int, count: int, sums: list[Any]) -> None:
        super().__init__(rank, count)
        self._sums = sums

    def sum(self, values: np.ndarray) -> np.ndarray:
        self._sums.append(values)
        return values


def batch_of(drawn: Draw, backend: Backend) -> Batch:
    found: Batch = drawn.data.batch(drawn.rows, xp=backend.xp)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 8, 25])
def test_every_row_of_a_batch_is_on_one_rank(count: int, batch_size: int) -> None:
    backend = select_backend("cpu", "float64")
    whole = Examples(np.arange(25.0)[:, None], np.arange(25) % 3)
    moved = whole.to_device(backend)
    expected = ShuffledBatches(moved, 25, batch_size, seed=3, backend=backend)
    shares = [
        SharedBatches(
            shared_out(whole, Some(rank, count)).to_device(backend),
            batch_size,
            seed=3,
            backend=backend,
        )
        for rank in range(count)
    ]
    for step in range(2 * expected.steps_per_epoch + 1):
        wanted = batch_of(expected.draw(step), backend)
        rows = np.full(wanted.size, -1.0)
        for share in shares:
            drawn = share.draw(step)
            batch = batch_of(drawn, backend)
            assert batch.examples == drawn.size == wanted.size
            piece = slice(0, batch.size)
            x, y, _ = batch.read(piece)
            places = batch.numbers(piece, xp=backend.xp)
            assert (rows[places] == -1).all()
            rows[places] = x[:, 0]
            np.testing.assert_array_equal(y, x[:, 0] % 3)
        np.testing.assert_array_equal(rows, wanted.read(slice(0, wanted.size))[0][:, 0])


TWO = Targets("classification", (0, 1))


def test_a_few_rows_of_a_large_share_are_read_a_piece_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xpmlp.data.stored.rows_at_a_time", lambda _: 10)
    x, y = np.arange(300.0).reshape(100, 3), np.arange(100) % 2
    features = Counting(x)
    some = StoredExamples(features, Counting(y), "x", "y", np.array([3, 7, 8, 41, 99]), TWO)
    share = some.read_share(Some(0, 1))
    np.testing.assert_array_equal(share.own.x, x[[3, 7, 8, 41, 99]])
    assert features.longest <= 10


class Counting:
    """An array that notes which rows were read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read: set[int] = set()
        self.longest = 0

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.read |= set(range(len(self))[rows])
        self.longest = max(self.longest, len(range(len(self))[rows]))
        return self._array[rows]


def test_rank_reads_the_rows_of_its_share_alone() -> None:
    x, y = np.arange(30.0).reshape(10, 3), np.arange(10) % 2
    kept = []
    for rank in range(3):
        features, labels = Counting(x), Counting(y)
        streamed = StreamedExamples(features, labels, "x", "y", ((0, 10),), TWO)
        train, held = stored(streamed).hold_out(4, seed=0)
        assert isinstance(train, StoredExamples)
        assert isinstance(held, StoredExamples)
        share = train.read_share(Some(rank, 3))
        assert (share.total, len(share.own)) == (6, 2)
        # Its rows, and those that lie between them in the file.
        rows = share.own.x[:, 0] / 3
        assert features.read <= set(range(int(rows.min()), int(rows.max()) + 1))
        kept += rows.tolist()
    expected, _ = Examples(x, y).hold_out(4, seed=0)
    assert kept == (expected.x[:, 0] / 3).tolist()


def test_more_ranks_than_rows_leave_some_without(tmp_path: Path) -> None:
    share = shared_out(Examples(np.zeros((2, 3)), np.array([0, 4])), Some(0, 5))
    backend = select_backend("cpu")
    assert len(share.own) == 0
    assert share.to_device(backend).outputs(backend) == 0
    assert tmp_path.exists()


def test_statistics_of_an_empty_share_are_zero() -> None:
    sums: list[Any] = []
    with pytest.raises(DataError):  # the other rank has none either
        fit_normalization("feature", np.zeros((0, 3)), None, ranks=Together(1, 2, sums))
    np.testing.assert_array_equal(sums[0], [0, 0, 0, 0])


def test_features_are_scaled_alike_where_one_rank_has_rows_that_do_not_fit() -> None:
    """Even days above 2^24 are float32 numbers; odd ones, on another rank, are not."""

    class OddElsewhere(Some):
        def largest(self, value: float) -> float:
            return max(value, 1.0)

    days = 20_240_000 + 2 * np.arange(40.0)[:, None]
    scaling = fit_normalization("feature", np.concatenate([days, days + 1]), None)
    backend = select_backend("cpu", "float32")
    backend.ranks = OddElsewhere(0, 2)
    shares = SharedExamples(Examples(days, np.zeros(40, int)).normalized(scaling), 0, 80)
    found = shares.to_device(backend).batch(xp=np).read(slice(0, 40)).x
    np.testing.assert_allclose(found, scaling.applied_on_host(days, "float64")[0], rtol=1e-6)


def test_a_table_in_its_file_is_not_shared_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1.5,2.5\n2.5,4.5\n" * 20)
    data = read_data(tmp_path / "t.csv", target="b", stream=True)
    with pytest.raises(UsageError, match="read the table with stream=False"):
        prepare(data, ranks=Some(0, 2))


def test_examples_with_weights_are_not_shared_out() -> None:
    weighted = Examples(np.zeros((2, 3)), np.array([0, 1]), sample_weight=np.ones(2))
    with pytest.raises(UsageError, match="weights"):
        shared_out(weighted, Some(0, 2))


@needs_mpi
def test_processes_of_another_launcher_are_noticed(tmp_path: Path) -> None:
    # As if another MPI's mpiexec had started them: mpi4py warns, and each would be rank 0.
    line = command("train.py", "--distributed", "mpi")
    line = [argument for argument in line if argument not in ("-W", "error")]
    done = subprocess.run(
        line,
        env=environment() | {"OMPI_COMM_WORLD_SIZE": "4"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "one of 4 processes" in done.stderr


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="there is mpi"):
        select_backend("cpu", distributed="nccl")


class FakeNccl:
    """NCCL as CuPy 14 offers it: the identity is bytes, and a communicator takes bytes."""

    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = 7, 8, 0
    made: ClassVar[list[tuple[Any, ...]]] = []

    @staticmethod
    def get_version() -> int:
        return 22707

    @staticmethod
    def get_unique_id() -> bytes:
        return bytes(range(128))

    @classmethod
    def NcclCommunicator(cls, count: int, identity: bytes, rank: int) -> Any:  # noqa: N802
        assert type(identity) is bytes
        cls.made.append((count, identity, rank))
        return SimpleNamespace(allReduce=lambda *given: cls.made.append(given))


def test_nccl_is_given_the_identity_that_cupy_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.backends.ranks.nccl.importlib.import_module", lambda _: FakeNccl)
    FakeNccl.made.clear()
    # A launcher may show each rank one card, of the same number, or two ranks may have one card.
    assert nccl_of(OnCards("0:1", "0:2", "0:1", "0:3"), with_card("0:1")) is None
    nccl = nccl_of(OnCards("0:1", "0:2", "0:3", "0:4"), with_card("0:1"))
    assert nccl is not None
    assert FakeNccl.made == [(4, bytes(range(128)), 0)]
    flat = np.ones(5, "f").view(OnDevice)
    nccl.add_up(flat, 3)
    assert FakeNccl.made[1] == (17, 17, 5, 7, 0, 3)


class OnCards(Some, MpiRanks):
    """The first of ranks on one machine, each with the card of a bus address."""

    def __init__(self, *cards: str) -> None:
        Some.__init__(self, 0, len(cards))
        self._cards = cards

    def gathered(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        return [record | {"card": card} for card in self._cards]

    def largest(self, value: float) -> float:
        return value

    def broadcast(self, values: np.ndarray) -> np.ndarray:
        return values


def with_card(address: str) -> Any:
    return SimpleNamespace(
        device=SimpleNamespace(pci_bus_id=address), computing=select_backend("cpu").computing
    )


class OnDevice(np.ndarray):
    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=17)


def test_without_nccl_sums_go_through_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Any:
        raise ImportError("libnccl.so.2")

    for imported in (missing, lambda _: SimpleNamespace()):  # CuPy's module may be an empty one
        with monkeypatch.context() as patch:
            patch.setattr("xpmlp.backends.ranks.nccl.importlib.import_module", imported)
            with pytest.warns(RuntimeWarning, match="cuda12 and cuda13 bring it"):
                assert nccl_of(OnCards("0:1", "0:2"), with_card("0:1")) is None
