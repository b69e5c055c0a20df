"""Images that are another one in every epoch: shifted, turned, scaled, sheared and bent.

A pixel of the deformed image is read at another place of the image. The displacement of that place
is a sum of fields that are the same for all images, with coefficients that are drawn for each: the
position itself for turning and scaling, 1 for a shift, and bumps for an elastic displacement. So
the displacements of a batch are products of its coefficients and these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, isqrt, prod, radians, sqrt
from typing import NamedTuple

from xpmlp.arrays import Array, Namespace
from xpmlp.counters import random_bits
from xpmlp.errors import DataError
from xpmlp.rules import check, number, optional, several, whole

# Numbers that are drawn for the affine part: angle, two scales, shear, two shifts.
_AFFINE = 6
_PIXELS = number(0, 1e4, "pixels from 0 to 10,000")
DEFORMATION_RULES = {
    "rotation": number(0, 180, "degrees from 0 to 180"),
    "scaling": number(0, 2, "a number from 0 to 2"),
    "shear": number(0, 90, "degrees from 0 to below 90", open_high=True),
    "shift": _PIXELS,
    "elastic": _PIXELS,
    "elastic_width": number(1, 1e4, "pixels from 1 to 10,000"),
}
# A bump has died away at so many standard deviations.
_REACH = 3.0


@dataclass(frozen=True)
class Deformation:
    """How far images are deformed: a pixel at p is read at p_0 + A (p − p_0) + b + an elastic part.

    p_0 is the middle of the image, and A = (cos θ, sin θ; tan φ − sin θ, cos θ) diag(e^F1, e^F2) of
    rows and columns. Each image draws numbers of its own, evenly from −value to value:
    `rotation`, θ, and `shear`, φ, in degrees; `scaling`, F1 and F2, such as 0.15 for factors from
    0.86 to 1.16; `shift`, b, in pixels along rows and along columns. `elastic`: the standard
    deviation of the elastic displacement in pixels, of which neighbours have about the same:
    `elastic_width` ≥ 1 is the σ, in pixels, of the Gaussian that random displacements are smoothed
    by (Simard et al. 2003: σ = 4 and an intensity α = 34, which are 1.4 pixels). `image_shape`:
    height and width of the grey images that the features are, by default the data set's, or those
    of a square.
    Raises `UsageError` for anything else.

    >>> Deformation(rotation=10, elastic=1.2).is_on, Deformation().is_on
    (True, False)
    """

    rotation: float = 0.0
    scaling: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_width: float = 4.0
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, rule in DEFORMATION_RULES.items():
            check(name, getattr(self, name), rule)
            object.__setattr__(self, name, float(getattr(self, name)))
        check("image_shape", self.image_shape, optional(several(whole(2))))
        if self.image_shape is not None:
            object.__setattr__(self, "image_shape", tuple(map(int, self.image_shape)))

    @property
    def is_on(self) -> bool:
        """Whether it changes anything."""
        sizes = (f.name for f in fields(self) if f.name not in ("elastic_width", "image_shape"))
        return any(getattr(self, name) for name in sizes)

    def of_images(self, features: int, *, like: Array, xp: Namespace) -> Deformed:
        """Return what deforms images of so many pixels; its arrays are of the kind of `like`.

        Raises `DataError` for features that are no grey images.
        """
        side = isqrt(features)
        shape = self.image_shape or (side, side)
        if grey_shape(shape) is None or prod(shape) != features:
            given = " × ".join(map(str, self.image_shape or ())) or "a square"
            raise DataError(
                f"{features} features are no image of {given}, and only images can be deformed: "
                "give image_shape=(height, width), or leave the deformation out"
            )
        height, width = shape
        made = {"dtype": like.dtype, "device": like.device}
        y = xp.arange(height, **made)[:, None] + xp.zeros((1, width), **made)
        x = xp.arange(width, **made)[None, :] + xp.zeros((height, 1), **made)
        fields = [y - (height - 1) / 2, x - (width - 1) / 2, xp.ones_like(y)]
        basis, places = (
            xp.stack([xp.reshape(each, (-1,)) for each in some]) for some in (fields, (y, x))
        )
        bumps = None
        if self.elastic:
            down, across = (_bumps(size, self.elastic_width, like=like, xp=xp) for size in shape)
            bumps = down, across
        return Deformed(self, shape, basis, places, bumps)


class Deformed(NamedTuple):
    """A deformation of images of one shape.

    `basis` (3, pixels): the fields y, x and 1; `places` (2, pixels): where pixels are, rows and
    columns from 0; `bumps`: of an elastic displacement along rows and columns, (knots, height) and
    (knots, width), whose products are the fields.
    """

    deformation: Deformation
    shape: tuple[int, ...]
    basis: Array
    places: Array
    bumps: tuple[Array, Array] | None

    def __call__(self, images: Array, key: Array, numbers: Array, *, xp: Namespace) -> Array:
        """Return the images (N, pixels), deformed; a pixel from outside is that of the edge.

        What is drawn depends on the key and an image's number in the batch alone. Of one key per
        model (models,) each deforms them in another way: (models, N, pixels).
        """
        (height, width), (n, pixels) = self.shape, images.shape
        moved = self.displacements(key, numbers, like=images, xp=xp)
        y = _inside(moved[..., 0, :] + self.places[0, :], height, xp=xp)
        x = _inside(moved[..., 1, :] + self.places[1, :], width, xp=xp)
        top, left = (
            xp.minimum(xp.floor(place), float(size - 2))
            for place, size in ((y, height), (x, width))
        )
        y -= top
        x -= left
        # Bilinear: between the four pixels around the place.
        image = xp.arange(n, dtype=xp.int64)[:, None] * pixels
        first = xp.astype(top, xp.int64) * width + xp.astype(left, xp.int64) + image
        every, first = xp.reshape(images, (-1,)), xp.reshape(first, (-1,))

        def at(offset: int) -> Array:
            return xp.reshape(xp.take(every, first + offset, axis=0), y.shape)

        above, below = at(0), at(width)
        above += x * (at(1) - above)
        below += x * (at(width + 1) - below)
        above += y * (below - above)
        return above

    def displacements(self, key: Array, numbers: Array, *, like: Array, xp: Namespace) -> Array:
        """Return how far places are moved (..., N, 2, pixels), along rows and along columns.

        The first axis is that of one key per model.
        """
        d = self.deformation
        sides = [] if self.bumps is None else [int(each.shape[0]) for each in self.bumps]
        count = _AFFINE + 2 * prod(sides) if sides else _AFFINE
        columns = xp.arange(count, dtype=xp.uint32)
        bits = random_bits(key[..., None, None], numbers[:, None], columns, xp=xp)
        u = xp.astype(bits, like.dtype) * 2.0**-31 - 1.0  # even in −1 to 1
        turned, higher, wider, leaning, down, right = (u[..., k] for k in range(_AFFINE))
        angle, slope = radians(d.rotation) * turned, xp.tan(radians(d.shear) * leaning)
        tall, wide = xp.exp(d.scaling * higher), xp.exp(d.scaling * wider)
        cos, sin = xp.cos(angle), xp.sin(angle)
        of_rows = xp.stack([cos * tall - 1.0, sin * wide, d.shift * down], axis=-1)
        of_columns = xp.stack([(slope - sin) * tall, cos * wide - 1.0, d.shift * right], axis=-1)
        moved = xp.matmul(xp.stack([of_rows, of_columns], axis=-2), self.basis)
        if self.bumps is not None:
            high, across = self.bumps
            # The variance of u is 1/3.
            drawn = d.elastic * sqrt(3.0) * u[..., _AFFINE:]
            drawn = xp.reshape(drawn, (*drawn.shape[:-1], 2, *sides))
            bent = xp.matmul(high.mT, xp.matmul(drawn, across))
            moved += xp.reshape(bent, moved.shape)
        return moved


def grey_shape(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return height and width of grey images, each of 2 pixels or more; None for other rows."""
    if shape is None or (len(shape) != 2 and shape[2:] != (1,)) or min(shape[:2]) < 2:
        return None
    return shape[:2]


def _bumps(size: int, width: float, *, like: Array, xp: Namespace) -> Array:
    """Return Gaussians (knots, size) of a σ, one σ apart, scaled to a sum with variance 1.

    Random numbers at these knots give what random numbers at all pixels would, smoothed by the same
    Gaussian: both have the covariance e^(−d²/4σ²) at a distance d, here to 3e-4.
    """
    knots = ceil((size - 1 + 2 * _REACH * width) / width) + 1
    start = (size - 1) / 2 - (knots - 1) / 2 * width
    made = {"dtype": like.dtype, "device": like.device}
    at = start + width * xp.arange(knots, **made)
    distance = (xp.arange(size, **made)[None, :] - at[:, None]) / width
    bumps = xp.exp(-0.5 * distance * distance)
    # Of coefficients with variance 1 the sum has the variance Σ bump².
    return bumps / xp.sqrt(xp.mean(xp.sum(bumps * bumps, axis=0)))


def _inside(place: Array, size: int, *, xp: Namespace) -> Array:
    """Return places that are moved to the edge where they are outside."""
    return xp.minimum(xp.maximum(place, 0.0), size - 1.0)
