"""Sentences of the courses' reports: each says what its numbers say."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from courses import conclusions as say

NORMS = {"sigmoid": [1e-6, 1e-3, 1.0], "tanh": [0.5, 0.7, 1.0], "wide": [1e4, 1e2, 1.0]}
ROWS: list[dict[str, float | str]] = [
    {"activation": name, "rate": rate, "training": fitted, "validation": accuracy}
    for name, rate, fitted, accuracy in (
        ("tanh", 0.1, 0.96, 0.950),
        ("tanh", 0.2, 0.97, 0.955),
        ("relu", 0.1, 0.99, 0.940),
        ("relu", 0.2, 0.98, 0.970),
    )
]

SAID: dict[str, tuple[Callable[[], str], str]] = {
    # 340 s against 0.1 s are a factor of 3,400; 34 of it are the rate's, 100 the batch's.
    "the batch does most": (
        lambda: say.full_against_minibatches(0.78, 340.0, 10.0, 0.1),
        "Yes: 78.0%, which the full batch reached after 340 s at the course's rate, the "
        "minibatches have passed after 0.1 s, 3,400 times sooner. The smaller part of it is the "
        "learning rate: at its own best rate the full batch needs 10 s, a factor of 34. The factor "
        "of 100 that is left is the batch's.",
    ),
    "the rate does most": (
        lambda: say.full_against_minibatches(0.78, 340.0, 2.0, 0.1),
        "Most of that is the learning rate",
    ),
    "the rate does all": (
        lambda: say.full_against_minibatches(0.78, 340.0, 2.0, 3.0),
        "No: 78.0%, .* at its own best rate already after 2 s",
    ),
    "no best rate": (
        lambda: say.full_against_minibatches(0.78, 340.0, None, 3.0),
        "At its own best rate the full batch did not pass it",
    ),
    "the minibatches are slower": (
        lambda: say.full_against_minibatches(0.78, 10.0, None, 20.0),
        "^No: 78.0%, which .* after 20 s, which is no sooner",
    ),
    "no minibatches": (
        lambda: say.full_against_minibatches(0.78, 340.0, 2.0, None),
        "Not within this run: the minibatches have not passed 78.0%",
    ),
    "the full batch bears more": (
        lambda: say.rates_of_batches(2.0, 0.5, 938),
        "Noise bears no larger learning rate: the full batch does best at 2, and the minibatches "
        "at 0.5. One step of the full batch costs the arithmetic of 938 small updates",
    ),
    "minibatches bear more": (
        lambda: say.rates_of_batches(0.5, 2.0, 938),
        "^The minibatches do best at 2 and the full batch at 0.5",
    ),
    "a trick that helps": (
        lambda: say.effect_of_trick("+ tanh", 0.5, 0.4),
        "^Adding tanh lowers it to 0.400.$",
    ),
    "a trick that hurts": (lambda: say.effect_of_trick("+ tanh", 0.5, 0.6), "raises it to 0.600"),
    "a trick that does nothing": (
        lambda: say.effect_of_trick("+ tanh", 0.5, 0.505),
        "leaves it at 0.505",
    ),
    "flat units": (lambda: say.initial_weights(0.6, 0.1), "60% .* 10% .* next to nothing"),
    "no flat units": (lambda: say.initial_weights(0.1, 0.1), "saturation is no reason"),
    "no early stopping": (
        lambda: say.end_of_runs({"a": "completed"}, {"a": 99}, {"a": 100}),
        "^Early stopping ended none of the runs; all had their lowest validation loss near the end",
    ),
    "early stopping": (
        lambda: say.end_of_runs(
            {"a": "early stopped", "b": "completed"}, {"a": 50, "b": 99}, {"a": 100, "b": 100}
        ),
        "ended 1 of the 2 runs. Past its lowest validation loss went on: a;",
    ),
    "more images help": (lambda: say.gap_with_more_images(0.2, 0.1), "is smaller: 0.100"),
    "more images do not": (lambda: say.gap_with_more_images(0.1, 0.2), "is larger: 0.200"),
    "too few": (lambda: say.too_few_units(0.2, 0.1), "^Too few fit even"),
    "few enough": (lambda: say.too_few_units(0.1, 0.1), "^32 units are not too few"),
    "sooner and better": (
        lambda: say.too_many_units(100, 50, (0.9, 0.95)),
        r"sooner than 64 \(step 50 against 100\), and gain on .* \(95.00% against 90.00%\)",
    ),
    "later and no better": (
        lambda: say.too_many_units(50, 100, (0.95, 0.95)),
        "later than 64 .*, and gain nothing",
    ),
    "deeper is better": (lambda: say.depth("it", 0.1, 0.2), "it is better than the single layer"),
    "deeper is worse": (lambda: say.depth("it", 0.2, 0.1), "it is worse than the single layer"),
    "deeper is level": (lambda: say.depth("it", 0.139, 0.139), "it is level with"),
    "it vanishes": (
        lambda: say.vanishing(NORMS)[0],
        "^sigmoid: it vanishes; .* 1e-06 of that at the last, a factor of 0.001 per layer$",
    ),
    "it arrives": (lambda: say.vanishing(NORMS)[1], "^tanh: it arrives"),
    "it explodes": (lambda: say.vanishing(NORMS)[2], "^wide: it explodes"),
    "wide weights help": (lambda: say.wide_weights(1e-6, 1e-2), "let more of it through"),
    "wide weights do not": (lambda: say.wide_weights(1e-2, 1e-6), "let no more of it through"),
    "it rose again": (
        lambda: say.after_the_best_epoch(3, 9, 0.1, 0.2),
        "rose again after that one, from 0.100 to 0.200",
    ),
    "it hardly rose": (
        lambda: say.after_the_best_epoch(3, 9, 0.1, 0.1001),
        "^its validation loss hardly rose after that one$",
    ),
    "still falling": (lambda: say.after_the_best_epoch(9, 9, 0.1, 0.1), "more epochs may gain"),
    "rates rise": (
        lambda: say.rates_by_batch({"deep": {16: 0.1, 64: 0.3, 256: 0.3}}),
        r"belong together: .* \(deep: 0.1 with 16, 0.3 with 64, 0.3 with 256\)",
    ),
    "rates do not rise": (
        lambda: say.rates_by_batch({"deep": {16: 0.3, 64: 0.3}}),
        "^The best rate by batch size, of those tried: deep: 0.3 with 16, 0.3 with 64.$",
    ),
    "slower again": (lambda: say.wide_batches(1.5, 60_000, 36.0), "by 1.5 times at 60,000"),
    "no slower": (lambda: say.wide_batches(1.0, 60_000, 36.0), "nothing is gained or lost"),
    # 2 √(0.97 · 0.03 / 100) = 3.4 %: three others are that near; of 10,000 images 0.34 %.
    "chance": (
        lambda: say.best_configuration(ROWS, 100)[0],
        "^relu at 0.2: 97.00% of 100 .* are 3.41%; 4 of the 4 lie as near",
    ),
    "no chance": (
        lambda: say.best_configuration(ROWS, 10_000)[0],
        "are 0.34%; no other comes as near as that",
    ),
    "wins": (
        lambda: say.best_configuration(ROWS, 100)[1],
        "^relu is ahead of tanh at 1 of 2 learning rates.$",
    ),
    "larger rates come further": (
        lambda: say.best_configuration(ROWS, 100)[2],
        "tanh is the better the larger its rate is, because .*: 96.00% .* at 0.1, 97.00% at 0.2",
    ),
    "larger rates, for no reason": (
        lambda: say.best_configuration(ROWS, 100)[3],
        "^relu is the better the larger its rate is.$",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_a_sentence_says_what_its_numbers_say(case: str) -> None:
    make, pattern = SAID[case]
    assert re.search(pattern, make()), make()


def test_rising_is_not_falling_or_level() -> None:
    assert say.rises([1, 1, 2])
    assert not say.rises([1, 1])
    assert not say.rises([1, 3, 2])


def test_pieces_of_regularisation_are_named_by_what_they_gave() -> None:
    found = say.most_helpful({"nothing": 2.0, "a": 1.5, "b": 1.2, "c": 2.5})
    assert found == (
        "With nothing 2.00 % are wrong, and fewest with b (1.20 %). These help, too: a (1.50 %). "
        "No help: c (2.50 %)."
    )
    assert say.most_helpful({"nothing": 2.0, "a": 2.0}).startswith("None does")
    assert say.most_helpful({"nothing": 2.0, "a": 1.0}).endswith("fewest with a (1.00 %).")
