"""The embedded data set: 1,797 handwritten digits of 8 × 8 pixels.

Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak 1998, UCI Machine
Learning Repository, doi:10.24432/C50P49, CC BY 4.0), the part that scikit-learn ships as
`load_digits`. It comes without a split; here a fixed fifth of it is the test set.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

from xpmlp.data.part import Part

_TEST_EXAMPLES = 360


def read_digits() -> list[Part]:
    """Return 1,437 training and 360 test examples: 64 values from 0 to 16, ten classes.

    The split is the same for every seed, so that test accuracies can be compared.
    """
    with as_file(files("xpmlp.data.formats") / "digits.npz") as path, np.load(path) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    # Neighbouring rows are of one writer: a split of shuffled rows is like the whole.
    order = np.random.default_rng(0).permutation(len(images))
    train, test = np.sort(order[:-_TEST_EXAMPLES]), np.sort(order[-_TEST_EXAMPLES:])
    return [
        Part(images[rows], labels[rows], "digits", "digits", maximum=16) for rows in (train, test)
    ]
