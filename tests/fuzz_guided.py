#!/usr/bin/env python3
"""Damage files where coverage says that it matters; needs atheris.

`python tests/fuzz_guided.py KIND -max_total_time=60` goes on for a minute, or until something
comes of a file that must not: `KIND` is one of those of `fuzz_data.py`, the rest is libFuzzer's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xpmlp", "numpy.lib", "zipfile", "gzip", "json"]):
    from fuzz_data import own_kinds, try_to_read


def main() -> None:
    kind = own_kinds()[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        (corpus / "valid").write_bytes(kind.content)

        def read(content: bytes) -> None:
            try_to_read(kind, content, Path(folder))

        atheris.Setup([*sys.argv, str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
