"""MNIST by name: found in a folder of yours or in the cache, else downloaded and verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from xpmlp.data.dataset import Dataset
from xpmlp.data.idx import read_bytes
from xpmlp.data.idx_folder import FILES, assemble, find_file
from xpmlp.errors import DataError

# The original site refuses downloads; these hold the same files.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)

# Of the decompressed content: mirrors differ in how they compressed it.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

# A variable that names a folder with one subfolder a data set.
DATA_VARIABLE = "XPMLP_DATA"
_TIMEOUT_SECONDS = 20


def load_mnist(mirrors: Sequence[str] = MIRRORS) -> Dataset:
    """Return MNIST: 60,000 training and 10,000 test images of 28 × 28 bytes, ten classes.

    Looks in `$XPMLP_DATA/mnist`, then in the user's cache folder, then asks the mirrors.
    Every file is verified by the SHA-256 of its decompressed content; `DataError` if not
    as published, or if it can be found nowhere.
    """
    contents = {}
    for name in FILES:
        path = _find(name)
        content = read_bytes(path) if path else None
        if path is None or content is None:
            path, content = _download(name, mirrors)
        elif not _is_published(name, content):
            raise DataError(
                f"{path}: not the published file of MNIST (its SHA-256 differs): delete it to "
                "have it downloaded, or give the folder's path to --data to use it as it is"
            )
        contents[name] = (content, path)
    return assemble("mnist", contents)


def _find(name: str) -> Path | None:
    own = os.environ.get(DATA_VARIABLE)
    if own and (path := find_file(Path(own) / "mnist", name)):
        return path
    try:
        cache = _cache_folder()
    except ModuleNotFoundError:
        return None  # nothing can have been downloaded; _download says what is missing
    return find_file(cache, name)


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("xpmlp")) / "mnist"


def _download(name: str, mirrors: Sequence[str]) -> tuple[Path, bytes]:
    """Fetch one file from the first mirror that has it as published."""
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name}.gz is not under ${DATA_VARIABLE}/mnist and downloads need pooch: "
            f'pip install "xpmlp[data]", or put the file into that folder'
        ) from error
    pooch.get_logger().setLevel("WARNING")
    folder, failures = _cache_folder(), []
    for mirror in mirrors:
        host = mirror.split("/")[2]
        try:
            path = Path(
                pooch.retrieve(
                    f"{mirror}{name}.gz",
                    known_hash=None,
                    fname=f"{name}.gz",
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS),
                )
            )
            content = read_bytes(path)
        except Exception as error:  # requests, urllib3 and OSError have no base of their own
            failures.append(f"{host}: {type(error).__name__}")
            (folder / f"{name}.gz").unlink(missing_ok=True)
            continue
        if _is_published(name, content):
            return path, content
        failures.append(f"{host}: another file than the published one")
        path.unlink()
    raise DataError(
        f"{name}.gz cannot be downloaded ({'; '.join(failures)}): put the four files "
        f"{', '.join(f'{file}.gz' for file in FILES)} into {folder}, or into the folder mnist "
        f"under the one that the environment variable {DATA_VARIABLE} names"
    )


def _is_published(name: str, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256[name]
