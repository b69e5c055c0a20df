"""Data sets by name: found in a folder of yours or in the cache, else downloaded; verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xpmlp.data.formats.idx import read_idx_bytes
from xpmlp.data.formats.idx_folder import FILES, Contents, find_file, parts_of_contents
from xpmlp.data.part import Part
from xpmlp.errors import DataError

# A variable that names a folder with one subfolder a data set.
DATA_VARIABLE = "XPMLP_DATA"
_TIMEOUT_SECONDS = 20
# Bytes of each file as it is published, decompressed; compressed it is never longer.
_LARGEST = dict(zip(FILES, (47_040_016, 60_008, 7_840_016, 10_008), strict=True))


class _TooLongError(Exception):
    """A download that does not end where it should."""


class _Limit:
    """Ends a download that is longer than what is asked for; pooch takes it for a progress bar."""

    def __init__(self, most: int) -> None:
        self._left, self.total = most, 0

    def update(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _TooLongError

    def reset(self) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing to show."""


@dataclass(frozen=True)
class PublishedSet:
    """Four IDX files that are the same everywhere.

    `sha256` is of the decompressed content: mirrors differ in how they compressed it.
    """

    name: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]

    def read(self) -> list[Part]:
        """Return 60,000 training and 10,000 test images of 28 × 28 bytes in ten classes.

        Looks in the folder of its name under `$XPMLP_DATA`, then in the user's cache, then asks
        the mirrors. `DataError` for a file that is not as published or can be found nowhere.
        """
        contents: Contents = {}
        for file in FILES:
            path = self._find(file)
            if path is None:
                contents[file] = self._download(file)
                continue
            content = read_idx_bytes(path)
            if not self._is_published(file, content):
                raise DataError(
                    f"{path}: not the published file of {self.name} (its SHA-256 differs): delete "
                    "it to have it downloaded, or name the folder itself to use it as it is"
                )
            contents[file] = (content, path)
        return parts_of_contents(contents)

    def _find(self, file: str) -> Path | None:
        own = os.environ.get(DATA_VARIABLE)
        if own and (path := find_file(Path(own) / self.name, file)):
            return path
        try:
            return find_file(self._cache(), file)
        except ModuleNotFoundError:
            return None  # nothing can have been downloaded; _download says what is missing

    def _cache(self) -> Path:
        import pooch

        return Path(pooch.os_cache("xpmlp")) / self.name

    def _is_published(self, file: str, content: bytes) -> bool:
        return hashlib.sha256(content).hexdigest() == self.sha256[file]

    def _download(self, file: str) -> tuple[bytes, Path]:
        """Fetch one file from the first mirror that has it as published."""
        try:
            import pooch
        except ModuleNotFoundError as error:
            raise DataError(
                f"{file}.gz is not under ${DATA_VARIABLE}/{self.name} and downloads need pooch: "
                'pip install "xpmlp[data]", or put the file into that folder'
            ) from error
        pooch.get_logger().setLevel("WARNING")
        folder, failures = self._cache(), []
        for mirror in self.mirrors:
            host = mirror.split("/")[2]
            target = folder / f"{file}.gz"
            try:
                pooch.retrieve(
                    f"{mirror}{target.name}",
                    known_hash=None,
                    fname=target.name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(
                        timeout=_TIMEOUT_SECONDS, progressbar=_Limit(_LARGEST[file])
                    ),
                )
                content = read_idx_bytes(target)
            except _TooLongError:
                failures.append(f"{host}: longer than the published file")
            except DataError:
                failures.append(f"{host}: not an IDX file")
            except Exception as error:  # requests, urllib3 and OSError have no base of their own
                failures.append(f"{host}: {type(error).__name__}")
            else:
                if self._is_published(file, content):
                    return content, target
                failures.append(f"{host}: another file than the published one")
            target.unlink(missing_ok=True)
        raise DataError(
            f"{file}.gz cannot be downloaded ({'; '.join(failures)}): put the four files "
            f"{', '.join(f'{name}.gz' for name in FILES)} into {folder}, or into the folder "
            f"{self.name} under the one that the environment variable {DATA_VARIABLE} names"
        )


# Y. LeCun, C. Cortes, C. Burges. The original site refuses downloads; these hold the same files.
MNIST = PublishedSet(
    "mnist",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    {
        FILES[0]: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        FILES[1]: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        FILES[2]: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        FILES[3]: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)

# H. Xiao, K. Rasul, R. Vollgraf 2017.
FASHION_MNIST = PublishedSet(
    "fashion-mnist",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    {
        FILES[0]: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        FILES[1]: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        FILES[2]: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        FILES[3]: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)
