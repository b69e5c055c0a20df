"""What reports say of their results: each sentence is chosen by the numbers that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt

# Losses and times that differ by less than this share are called level.
_LEVEL = 0.02


def compared(ours: float, theirs: float, *, lower: str, level: str, higher: str) -> str:
    """Return the word for a number beside another one: lower, level within 2 %, or higher."""
    if abs(ours - theirs) <= _LEVEL * max(abs(ours), abs(theirs)):
        return level
    return lower if ours < theirs else higher


def rises(values: Sequence[float]) -> bool:
    """Tell whether no value is below the one before, and the last above the first."""
    return all(a <= b for a, b in pairwise(values)) and values[-1] > values[0]


def full_against_minibatches(
    accuracy: float, course: float, best: float | None, small: float | None
) -> str:
    """Say which part of the time to an accuracy is the learning rate's, and which the batch's.

    Seconds to the accuracy: of the full batch at the course's rate, at its best rate (None: not
    reached), and of minibatches.
    """
    if small is None:
        return f"Not within this run: the minibatches have not passed {accuracy:.1%}."
    after = f"{accuracy:.1%}, which the full batch reached after {course:.3g} s at the course's "
    after += f"rate, the minibatches have passed after {small:.2g} s"
    if small >= course:
        return f"No: {after}, which is no sooner."
    if best is None:
        return f"Yes: {after}. At its own best rate the full batch did not pass it."
    by_rate, by_batch = course / best, best / small
    if by_batch < 1:
        return (
            f"No: {after}, and the full batch at its own best rate already after {best:.2g} s. "
            "What made it slow was its learning rate."
        )
    word = "Most of that" if sqrt(course / small) < by_rate else "The smaller part of it"
    return (
        f"Yes: {after}, {course / small:,.0f} times sooner. {word} is the learning rate: at its "
        f"own best rate the full batch needs {best:.2g} s, a factor of {by_rate:.2g}. The factor "
        f"of {by_batch:,.0f} that is left is the batch's."
    )


def rates_of_batches(full: float, small: float, updates: int) -> str:
    """Say which batch bears the larger rate, and what makes minibatches faster."""
    because = (
        f"One step of the full batch costs the arithmetic of {updates:,} small updates, and the "
        "gradient of 64 images points nearly where that of all of them does."
    )
    if full >= small:
        return (
            f"Noise bears no larger learning rate: the full batch does best at {full:g}, and the "
            f"minibatches at {small:g}. {because} That, and no larger rate, is their advantage."
        )
    return (
        f"The minibatches do best at {small:g} and the full batch at {full:g}, of those tried. "
        f"{because}"
    )


def effect_of_trick(name: str, before: float, after: float) -> str:
    """Say what a trick has done to the lowest validation loss."""
    word = compared(after, before, lower="lowers", level="leaves", higher="raises")
    to = "at" if word == "leaves" else "to"
    return f"Adding {name.removeprefix('+ ')} {word} it {to} {after:.3f}."


def initial_weights(wide: float, narrow: float) -> str:
    """Say how many hidden outputs are flat before the first step, by their initial weights."""
    said = (
        f"Before the first step {wide:.0%} of the hidden outputs lie where the sigmoid is flat "
        f"with weights uniform in (−1, 1), and {narrow:.0%} with deviation 1/√fan_in"
    )
    if wide > narrow:
        return f"{said}: through the flat ones next to nothing of a gradient passes."
    return f"{said}: saturation is no reason here to draw them smaller."


def end_of_runs(ends: Mapping[str, str], best: Mapping[str, int], last: Mapping[str, int]) -> str:
    """Say which runs patience has ended, and which were still getting better at their end."""
    early = [name for name, end in ends.items() if end == "early stopped"]
    past = [name for name in ends if best[name] < 0.9 * last[name]]
    stopped = f"Early stopping ended {len(early)} of the {len(ends)} runs"
    if not early:
        stopped = "Early stopping ended none of the runs"
    if not past:
        return f"{stopped}; all had their lowest validation loss near the end."
    names = ", ".join(past)
    return (
        f"{stopped}. Past its lowest validation loss went on: {names}; the best weights are kept."
    )


def gap_with_more_images(few: float, many: float) -> str:
    """Say what more images do to the gap between validation and training loss."""
    word = compared(many, few, lower="smaller", level="the same", higher="larger")
    return f"With all images the gap of the last network is {word}: {many:.3f} against {few:.3f}."


def too_few_units(small: float, large: float) -> str:
    """Say whether few hidden units fit even the training images less well."""
    numbers = f"training loss {small:.4f} at the end with 32 units, {large:.4f} with 128"
    if small > large * (1 + _LEVEL):
        return f"Too few fit even the images that they are trained on less well ({numbers})."
    return f"32 units are not too few to fit the training images ({numbers})."


def too_many_units(middle: int, large: int, accuracies: tuple[float, float]) -> str:
    """Say when 64 and 128 units come to their best step, and whether more units gain."""
    word = compared(large, middle, lower="sooner", level="no sooner", higher="later")
    gain = "gain" if accuracies[1] > accuracies[0] else "gain nothing"
    return (
        f"128 units come to their lowest validation loss {word} than 64 (step {large:,} against "
        f"{middle:,}), and {gain} on the test images ({accuracies[1]:.2%} against "
        f"{accuracies[0]:.2%})."
    )


def depth(of: str, loss: float, reference: float) -> str:
    """Say how a deeper network compares with a single hidden layer."""
    word = compared(loss, reference, lower="better than", level="level with", higher="worse than")
    return (
        f"By validation loss {of} is {word} the single layer ({loss:.3f} against {reference:.3f})."
    )


def vanishing(norms: Mapping[str, Sequence[float]]) -> list[str]:
    """Say of each initial network how much of the gradient comes to its first layer."""
    found = []
    for name, layers in norms.items():
        ratio = layers[0] / layers[-1]
        each = ratio ** (1 / (len(layers) - 1))
        word = "it vanishes" if ratio < 0.01 else "it arrives" if ratio < 100 else "it explodes"
        found.append(
            f"{name}: {word}; the norm at the first layer is {ratio:.1g} of that at the last, a "
            f"factor of {each:.2g} per layer"
        )
    return found


def wide_weights(plain: float, wide: float) -> str:
    """Say what wide weights do to a gradient's way down, beside what they do to units."""
    if wide > plain:
        return (
            "Wide weights let more of it through than narrow ones do, because each layer also "
            "multiplies by its weights, whose deviation is 0.58 here and 0.125 there; that they "
            "drive units into the flat parts takes away less than that."
        )
    return "Wide weights let no more of it through than narrow ones do."


def after_the_best_epoch(best: float, last: float, lowest: float, end: float) -> str:
    """Say whether the validation loss rose again after its lowest point."""
    if best >= last:
        return "its validation loss was at its lowest in the last one: more epochs may gain"
    if end <= lowest * (1 + _LEVEL):
        return "its validation loss hardly rose after that one"
    return f"its validation loss rose again after that one, from {lowest:.3f} to {end:.3f}"


def rates_by_batch(best: Mapping[str, Mapping[int, float]]) -> str:
    """Say whether larger batches did best at larger rates; rates by network and batch size."""
    said = "; ".join(
        f"{name}: " + ", ".join(f"{rate:g} with {size}" for size, rate in rates.items())
        for name, rates in best.items()
    )
    if all(rises([rates[size] for size in sorted(rates)]) for rates in best.values()):
        return (
            f"Rate and batch size belong together: a larger batch takes fewer steps per epoch, and "
            f"does best at a larger rate ({said})."
        )
    return f"The best rate by batch size, of those tried: {said}."


def wide_batches(loss: float, count: int, megabytes: float) -> str:
    """Say whether very large batches are slower than the best."""
    if loss > 1.15:
        return (
            f"Larger ones are slower again, by {loss:.1f} times at {count:,}, where the outputs of "
            f"the layers take {megabytes:,.0f} MB, more than caches hold."
        )
    return "Beyond that nothing is gained or lost."


def best_configuration(rows: Sequence[Mapping[str, float | str]], images: int) -> list[str]:
    """Say which of the configurations is best, what speaks for it, and what is chance.

    Rows have activation, rate, and accuracies in training and validation, of so many `images`.
    """
    best = max(rows, key=lambda row: float(row["validation"]))
    top = float(best["validation"])
    chance = 2 * sqrt(top * (1 - top) / images)
    near = [row for row in rows if top - float(row["validation"]) <= chance]
    said = [
        f"{best['activation']} at {best['rate']:g}: {top:.2%} of {images:,} validation images. Two "
        f"deviations of such a share are {chance:.2%}; "
        + (
            f"{len(near)} of the {len(rows)} lie as near as that, and which of them comes first "
            "may be chance."
            if len(near) > 1
            else "no other comes as near as that."
        )
    ]
    by_rate: dict[float, dict[str, Mapping[str, float | str]]] = {}
    for row in rows:
        by_rate.setdefault(float(row["rate"]), {})[str(row["activation"])] = row
    names = list(dict.fromkeys(str(row["activation"]) for row in rows))
    wins = sum(
        float(pair[names[1]]["validation"]) > float(pair[names[0]]["validation"])
        for pair in by_rate.values()
    )
    said.append(f"{names[1]} is ahead of {names[0]} at {wins} of {len(by_rate)} learning rates.")
    for name in names:
        pairs = sorted((rate, pair[name]) for rate, pair in by_rate.items())
        found = [float(row["validation"]) for _, row in pairs]
        fitted = [float(row["training"]) for _, row in pairs]
        if rises(found):
            line = f"{name} is the better the larger its rate is"
            if rises(fitted):
                line += (
                    f", because at the smaller ones it has not come as far: {fitted[0]:.2%} of the "
                    f"training images at {pairs[0][0]:g}, {fitted[-1]:.2%} at {pairs[-1][0]:g}"
                )
        elif rises([-value for value in found]):
            line = f"{name} is the better the smaller its rate is"
        else:
            top_rate = pairs[found.index(max(found))][0]
            line = f"{name} does best at {top_rate:g}, and no order of the rates shows"
        said.append(f"{line}.")
    return said


def most_helpful(errors: Mapping[str, float]) -> str:
    """Say which pieces of regularisation help; the first of the errors, in percent, is without."""
    (plain, without), *rest = errors.items()
    order = sorted(rest, key=lambda row: row[1])
    helps = [f"{name} ({error:.2f} %)" for name, error in order if error < without]
    if not helps:
        return (
            f"None does: with {plain} the error is {without:.2f} %, and with each it is no smaller."
        )
    best, *others = helps
    said = f"With {plain} {without:.2f} % are wrong, and fewest with {best}."
    if others:
        said += f" These help, too: {'; '.join(others)}."
    worse = [f"{name} ({error:.2f} %)" for name, error in order if error >= without]
    return said + (f" No help: {'; '.join(worse)}." if worse else "")
