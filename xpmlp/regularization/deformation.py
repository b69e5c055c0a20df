"""Images that are another one in every epoch: shifted, turned, scaled, sheared and bent.

A pixel of the deformed image is read at another place of the image. The displacement of that place
is linear in some coefficients of each image: a sum of fields that are the same for all images, the
position itself for turning and scaling, one for a shift, and bumps for an elastic displacement. So
all displacements of a batch are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, isqrt, radians, sqrt
from typing import NamedTuple

from xpmlp.arrays import Array, Namespace
from xpmlp.counters import random_bits
from xpmlp.errors import DataError
from xpmlp.rules import ABOVE_0, FROM_0, check, number, optional, several, whole

# Numbers that are drawn for the affine part: angle, two scales, shear, two shifts.
_AFFINE = 6
_SHEAR = number(0, 90, "degrees from 0 to below 90", open_high=True)
# A bump has died away at so many standard deviations.
_REACH = 3.0


@dataclass(frozen=True)
class Deformation:
    """How far images are deformed: each number is the most that is drawn, evenly around none.

    `rotation` and `shear`: degrees. `scale`: the logarithm of the factor, of height and width
    apart, such as 0.15 for factors from 0.86 to 1.16. `shift`: pixels. `elastic`: the standard
    deviation of the elastic displacement in pixels, of which neighbours have about the same:
    `elastic_width` is the σ, in pixels, of the Gaussian that random displacements are smoothed by
    (Simard et al. 2003: σ = 4 and an intensity α = 34, which are 1.4 pixels). `image_shape`: height
    and width of the grey images that the features are, by default those of a square.
    Raises `UsageError` for anything else.

    >>> Deformation(rotation=10, elastic=1.2).is_on, Deformation().is_on
    (True, False)
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_width: float = 4.0
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "shift", "elastic"):
            check(name, getattr(self, name), FROM_0)
        check("shear", self.shear, _SHEAR)
        check("elastic_width", self.elastic_width, ABOVE_0)
        check("image_shape", self.image_shape, optional(several(whole(2))))

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
        if len(shape) != 2 or shape[0] * shape[1] != features or min(shape) < 2:
            given = " × ".join(map(str, self.image_shape or ())) or "no shape of their own"
            raise DataError(
                f"only grey images can be deformed: examples have {features} features, and {given}"
            )
        height, width = shape
        positions = {"dtype": like.dtype, "device": like.device}
        y = xp.arange(height, **positions)[:, None] + xp.zeros((1, width), **positions)
        x = xp.arange(width, **positions)[None, :] + xp.zeros((height, 1), **positions)
        maps = [y - (height - 1) / 2, x - (width - 1) / 2, xp.ones_like(y)]
        knots = 0
        if self.elastic:
            down, across = (_bumps(size, self.elastic_width, like=like, xp=xp) for size in shape)
            knots = int(down.shape[0] * across.shape[0])
            bumps = xp.reshape(down[:, None, :, None] * across[None, :, None, :], (knots, -1))
            # Of coefficients with variance 1 the displacement has the variance Σ bump².
            variance = xp.mean(xp.sum(bumps * bumps, axis=0))
            maps.append(bumps / xp.sqrt(variance))
        basis = xp.concat([xp.reshape(each, (-1, features)) for each in maps], axis=0)
        return Deformed(self, shape, knots, basis, xp.stack([xp.reshape(a, (-1,)) for a in (y, x)]))


class Deformed(NamedTuple):
    """A deformation of images of one shape.

    `basis` (3 + knots, pixels): the fields y, x and 1, and the bumps of an elastic displacement;
    `places` (2, pixels): where pixels are, rows and columns from 0.
    """

    deformation: Deformation
    shape: tuple[int, ...]
    knots: int
    basis: Array
    places: Array

    def __call__(self, images: Array, key: Array, numbers: Array, *, xp: Namespace) -> Array:
        """Return the deformed images (N, pixels); a pixel from outside is that of the edge.

        What is drawn depends on the key and an image's number in the batch alone.
        """
        (height, width), (n, pixels) = self.shape, images.shape
        moved = xp.matmul(self.coefficients(key, numbers, like=images, xp=xp), self.basis)
        moved = xp.reshape(moved, (n, 2, pixels))
        y = _inside(moved[:, 0, :] + self.places[0, :], height, xp=xp)
        x = _inside(moved[:, 1, :] + self.places[1, :], width, xp=xp)
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
            return xp.reshape(xp.take(every, first + offset, axis=0), (n, pixels))

        above, below = at(0), at(width)
        above += x * (at(1) - above)
        below += x * (at(width + 1) - below)
        above += y * (below - above)
        return above

    def coefficients(self, key: Array, numbers: Array, *, like: Array, xp: Namespace) -> Array:
        """Return (2 N, 3 + knots): of each image those of its rows' displacement, then columns'."""
        d, n = self.deformation, int(numbers.shape[0])
        columns = xp.arange(_AFFINE + 2 * self.knots, dtype=xp.uint32)
        bits = random_bits(key, numbers[:, None], columns, xp=xp)
        u = xp.astype(bits, like.dtype) * 2.0**-31 - 1.0  # even in −1 to 1
        angle, shear = radians(d.rotation) * u[:, :1], radians(d.shear) * u[:, 3:4]
        tall, wide = xp.exp(d.scale * u[:, 1:2]), xp.exp(d.scale * u[:, 2:3])
        cos, sin, slope = xp.cos(angle), xp.sin(angle), xp.tan(shear)
        rows = [cos * tall - 1.0, sin * wide, d.shift * u[:, 4:5]]
        of_columns = [(slope - sin) * tall, cos * wide - 1.0, d.shift * u[:, 5:6]]
        if self.knots:
            # The variance of u is 1/3.
            bent = d.elastic * sqrt(3.0) * u[:, _AFFINE:]
            rows.append(bent[:, : self.knots])
            of_columns.append(bent[:, self.knots :])
        both = [xp.concat(rows, axis=1), xp.concat(of_columns, axis=1)]
        return xp.reshape(xp.stack(both, axis=1), (2 * n, -1))


def _bumps(size: int, width: float, *, like: Array, xp: Namespace) -> Array:
    """Return Gaussians (knots, size) of a σ, one σ apart.

    Random numbers at these knots give what random numbers at all pixels would, smoothed by the same
    Gaussian: both have the covariance e^(−d²/4σ²) at a distance d, here to 1e-4.
    """
    knots = ceil((size - 1 + 2 * _REACH * width) / width) + 1
    start = (size - 1) / 2 - (knots - 1) / 2 * width
    made = {"dtype": like.dtype, "device": like.device}
    at = start + width * xp.arange(knots, **made)
    distance = (xp.arange(size, **made)[None, :] - at[:, None]) / width
    return xp.exp(-0.5 * distance * distance)


def _inside(place: Array, size: int, *, xp: Namespace) -> Array:
    """Return places that are moved to the edge where they are outside."""
    return xp.minimum(xp.maximum(place, 0.0), size - 1.0)
