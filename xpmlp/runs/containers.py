"""Named arrays to the bytes of a file and back, bit for bit or not at all.

`.h5` is an HDF5 file behind a block of 512 bytes that HDF5 leaves to its users; the block says the
format's version and the SHA-256 of everything behind it, so that one changed byte is noticed.
`.safetensors` says the same in its metadata. Its parser is a small program in a language that
checks every access, which HDF5's is not: it is the form for files of strangers.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from xpmlp.data.formats.hdf5 import bytes_of, lies_elsewhere
from xpmlp.files import parse_json
from xpmlp.interchange.safetensors_file import metadata_of, safetensors_package

Arrays = dict[str, np.ndarray]

FORMAT = 1
_BLOCK = 512
_MAGIC = b"xpmlp checkpoint\nversion "
_SAFETENSORS_KEY = "xpmlp checkpoint"
# Groups in groups: more than any of ours has.
_DEPTH = 4


class Container(NamedTuple):
    """`write(arrays)` → bytes; `read(bytes)` → arrays, `ValueError` for anything else."""

    write: Callable[[Mapping[str, np.ndarray]], bytes]
    read: Callable[[bytes], Arrays]


def _write_hdf5(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            group, _, own = name.rpartition("/")
            if group and group not in file:
                file.create_group(group, track_order=True)  # layer 10 after layer 9
            (file[group] if group else file)[own] = array
    content = buffer.getvalue()
    return _header(FORMAT, content) + content


def _read_hdf5(raw: bytes) -> Arrays:
    version = raw[len(_MAGIC) : _BLOCK].split(b"\n")[0]
    if version.isdigit():
        _check_version(int(version[:9]))
    content = raw[_BLOCK:]
    if raw[:_BLOCK] != _header(FORMAT, content):
        raise ValueError("damaged, its checksum does not match: take an older copy, or start again")
    with h5py.File(io.BytesIO(content), "r") as file:
        return dict(_arrays_in(file, "", len(content)))


def _arrays_in(group: h5py.Group, path: str, room: int, depth: int = 0) -> Iterator[Any]:
    """Yield names and arrays, none of which leads out of the file or is larger than it."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink) or depth > _DEPTH:
            raise ValueError(f"{path}{name} leads elsewhere, and is not followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _arrays_in(item, f"{path}{name}/", room, depth + 1)
            continue
        if not isinstance(item, h5py.Dataset) or lies_elsewhere(item):
            raise ValueError(f"{path}{name} has its values elsewhere, and is not followed")
        promised, stored = bytes_of(item)
        room -= promised
        if item.dtype.kind not in "iuf" or promised > stored or room < 0:
            raise ValueError(f"{path}{name} is larger than what the file holds of it")
        yield path + name, np.asarray(item[()])


def _header(version: int, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    text = _MAGIC + f"{version}\nsha256 {digest}\n".encode()
    return text.ljust(_BLOCK, b"\0")


def _check_version(version: int) -> None:
    if version > FORMAT:
        raise ValueError(
            f"a checkpoint of format {version}, and this xpmlp reads up to {FORMAT}: update xpmlp"
        )


def _write_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    import json

    stored = {name: np.array(array, order="C") for name, array in arrays.items()}
    record = json.dumps({"version": FORMAT, "sha256": _digest(stored)})
    found: bytes = safetensors_package().save(stored, metadata={_SAFETENSORS_KEY: record})
    return found


def _read_safetensors(raw: bytes) -> Arrays:
    arrays: Arrays = safetensors_package().load(raw)
    record = parse_json(metadata_of(raw).get(_SAFETENSORS_KEY, "null"))
    if not isinstance(record, dict) or not isinstance(record.get("version"), int):
        raise ValueError("not a checkpoint of xpmlp: its metadata say nothing of one")
    _check_version(record["version"])
    if record.get("sha256") != _digest(arrays):
        raise ValueError("damaged, its checksum does not match: take an older copy, or start again")
    return arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


# By the ending of a file's name.
CONTAINERS = {
    ".h5": Container(_write_hdf5, _read_hdf5),
    ".safetensors": Container(_write_safetensors, _read_safetensors),
}


def is_checkpoint(raw: bytes) -> bool:
    """Tell whether a file's content says that it is a checkpoint, and no network alone."""
    try:
        return raw.startswith(_MAGIC) or _SAFETENSORS_KEY in metadata_of(raw)
    except ValueError:
        return False


def read_container(raw: bytes) -> Arrays:
    """Return the arrays of a file's content, whichever of the forms it has.

    Raises `ValueError`, and whatever a parser makes of a file that is neither.
    """
    if raw.startswith(_MAGIC):
        return _read_hdf5(raw)
    if raw[8:9] == b"{":  # behind the length of safetensors' header
        return _read_safetensors(raw)
    raise ValueError("not a checkpoint of xpmlp, or its beginning is damaged")
