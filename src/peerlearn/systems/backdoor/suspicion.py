"""Whether one class is reached by a smaller change than the others, as a backdoor's target may be.

Nothing of a trigger is known. For each class the smallest spot is sought that sends clean images
of the other classes there: a mask m in [0, 1] of pixels and a pattern p, one pair for all images,
which become (1 - m) x + m p. A backdoor is a short cut to its target: a trigger of few pixels is
such a spot, and often smaller than any that leads to another class.

It is the search of Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in
Neural Networks", IEEE S&P 2019: cross-entropy to the class plus λ times the area of the mask by
Adam, λ raised while enough rows go there and lowered while they do not; then it is asked whether
the smallest area is an outlier. Deviations:

- from one start that knows no place the fit often ends in a spot shaped like the class, and the
  trigger is not found. Here squares at places of a grid, dark and bright, are tried first, by
  forwards that tell of all classes at once; the best for the class is one start, grey everywhere
  the other;
- areas are compared by their logarithms, for none is negative and classes differ by factors;
- they measure in median absolute deviations (MAD), and raise an alarm above 2, which half of all
  networks exceed whose classes do not differ. The MAD of a handful of classes is so uncertain that
  an alarm that 5 % of such networks raise missed half of the backdoors it was tried on. Here it is
  the mean and the standard deviation of the other classes, and the alarm that 5 % raise is that of
  Grubbs, "Sample Criteria for Testing Outlying Observations", Annals of Mathematical Statistics
  1950. Two targets in one network hide each other.

Shape suffixes: N rows, C channels, H height, W width, K classes, V starts, B rows of a batch.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.data.augment import Normalisation
from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.objectives.labels import labelled_rows
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.transfer.outputs import as_peer_output

STEPS, BATCH, LR, BETAS = 60, 32, 0.2, (0.5, 0.9)
GOAL = 0.95
"""Share of the rows of a batch that a spot must send to the class."""
PACE = 1.1
"""What λ is multiplied with, or divided by, after each step."""
PLACES = 4
"""Of squares in each direction; they are a third as high and as wide as the image."""
INSIDE, OUTSIDE, COLOUR = 1.5, -3.0, 2.0
"""Logits at the start from a square: of its mask, of the mask elsewhere, ± of its pattern."""
LOOKED_AT = 256
"""Rows on which squares are tried, and rows in one forward where nothing is learned."""
FALSE_ALARMS = 0.05
"""Share of networks whose classes do not differ that would raise an alarm."""
FEWEST_CLASSES = 3
LEAST_DEVIATION = 0.05
"""Of logarithms of areas: two fits of one class differ by as much."""
CANNOT_SEE = (
    "The check sees a class that a small spot at one place of the image leads to. It cannot be "
    "relied on for triggers that are spread over the image (blended, sinusoidal, warped) or depend "
    "on it, triggers without a fixed place, backdoors of several or of all classes (all-to-all), "
    "or rows that differ from the clean ones given; and a class may be easy to reach "
    "without any backdoor. Nothing that stands out is no proof that nothing is there."
)


@dataclass(frozen=True)
class Suspicion:
    """How easily each class is reached, and whether one of them stands out.

    Attributes:
        areas: by class, of its smallest spot, as a share of the image; 1 where none was found.
        shares: by class, of rows that are not of it and not taken for it, those that the spot sends
            there; 0 where none was found.
        rows: by class, how many rows that share is of.
        reached: the class with the smallest area.
        index: how far the logarithm of that area is below the mean of the others, in their standard
            deviations; None where there are too few classes to tell.
        threshold: the index from which on it stands out; None as before.
    """

    areas: tuple[float, ...]
    shares: tuple[float, ...]
    rows: tuple[int, ...]
    reached: int
    index: float | None
    threshold: float | None

    @property
    def suspect(self) -> int | None:
        """The class that stands out; None where none does."""
        if self.index is None or self.threshold is None or self.index < self.threshold:
            return None
        return self.reached

    def words(self, class_names: tuple[str, ...]) -> str:
        """A sentence: `suspicious of class X`, or `nothing stands out`, with the numbers."""
        name, area, share = (each[self.reached] for each in (class_names, self.areas, self.shares))
        others = [each for number, each in enumerate(self.areas) if number != self.reached]
        median = float(torch.tensor(others).quantile(0.5))
        found = (
            f"a spot of {area:.1%} of the image sends {share:.1%} of other rows to class {name!r}, "
            f"median of the others {median:.1%} of the image"
        )
        if self.index is None or self.threshold is None:
            return (
                f"nothing stands out, for {len(self.areas)} classes are too few to tell ({found})"
            )
        numbers = f"index {self.index:.1f}, alarm from {self.threshold:.1f} on"
        verdict = "nothing stands out" if self.suspect is None else f"suspicious of class {name!r}"
        return f"{verdict}: {found}; {numbers}"


def suspicion(
    network: nn.Module,
    x_NCHW: Tensor,
    y_N: Tensor,
    classes: int,
    normalisation: Normalisation,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Suspicion:
    """Look for a class that the smallest spot leads to; see the module.

    It is done in fp32 on the network's own device; modes, gradients and generators are left as they
    were found.

    Args:
        network: reads normalised images and gives logits, or what `as_peer_output` reads.
        x_NCHW: clean images as they are kept, uint8 or float.
        y_N: int64, their classes; rows without a label are left out.
        classes: how many the network tells apart.
        normalisation: what makes of pixels, in [0, 1] where they are uint8, what it reads.
        steps: of Adam, for each class.
        seed: key of which rows squares are tried on, and of batches.

    Raises InputError: clean rows of fewer than two classes.
    """
    device = next(network.parameters()).device
    labelled_N = labelled_rows(y_N)
    x_NCHW, y_N = x_NCHW[labelled_N], y_N[labelled_N]
    known = len(y_N.unique())
    if known < 2:
        raise InputError(
            f"suspicion: {len(y_N)} clean rows, of {known} classes; allowed: rows of 2 classes or "
            "more"
        )
    x_NCHW = (x_NCHW.float() / 255 if x_NCHW.dtype == torch.uint8 else x_NCHW.float()).to(device)
    low, high = min(0.0, float(x_NCHW.min())), max(1.0, float(x_NCHW.max()))

    def logits(x: Tensor) -> Tensor:
        return as_peer_output(network(normalisation.apply(x)), "to look into").logits.float()

    areas, shares, rows = [], [], []
    with (
        evaluating(network),
        seeded_rng(seed, "suspicion"),
        torch.autocast(device.type, enabled=False),
    ):
        said_N, y_N = _said(logits, x_NCHW), y_N.to(device)
        order = torch.randperm(len(x_NCHW), generator=keyed_generator(seed, "suspicion"))
        tried = order[:LOOKED_AT].to(device)
        squares = _squares(x_NCHW, low, high)
        best_K = _best_squares(logits, x_NCHW[tried], y_N[tried], squares, classes)
        for label in range(classes):
            others = x_NCHW[y_N != label]
            batches = []
            for step in range(steps):
                generator = keyed_generator(seed, "suspicion", label, step)
                batches.append(torch.randperm(len(others), generator=generator)[:BATCH].to(device))
            starts = _starts(squares[int(best_K[label])])
            area, spot = _smallest(logits, others, batches, label, starts, (low, high))
            free = x_NCHW[(y_N != label) & (said_N != label)]
            sent = _said(logits, spot(free)) == label
            areas.append(area)
            rows.append(len(free))
            shares.append(float(sent.double().mean()) if len(free) else 0.0)
    return judged(areas, shares, rows)


def judged(areas: list[float], shares: list[float], rows: list[int]) -> Suspicion:
    """Whether the class with the smallest area stands out; see `Suspicion` for the arguments."""
    sizes_K = torch.tensor(areas, dtype=torch.float64).log()
    reached = int(sizes_K.argmin())
    index = threshold = None
    if len(areas) >= FEWEST_CLASSES:
        others = torch.cat([sizes_K[:reached], sizes_K[reached + 1 :]])
        index = float((others.mean() - sizes_K[reached]) / others.std().clamp(min=LEAST_DEVIATION))
        threshold = alarm(len(areas))
    return Suspicion(tuple(areas), tuple(shares), tuple(rows), reached, index, threshold)


def alarm(classes: int, level: float = FALSE_ALARMS) -> float:
    """The index that a share `level` of networks exceeds whose classes do not differ.

    The logarithms of their areas are independent normal numbers. One of them, in deviations of the
    others, is Student's t with `classes` - 2 degrees of freedom times a factor; that it is the
    smallest of all is counted once a class (Bonferroni), which is hardly too often so far out.
    """
    from scipy.stats import t  # slow to import, and needed here alone

    return float(t.isf(level / classes, classes - 2)) * math.sqrt(classes / (classes - 1))


@dataclass(frozen=True)
class _Square:
    """A square at a place, all of one colour."""

    inside_HW: Tensor
    colour: float
    bright: bool


def _squares(x_NCHW: Tensor, low: float, high: float) -> list[_Square]:
    """Dark and bright squares at all places of a grid."""
    height, width = x_NCHW.shape[-2:]
    high_as, wide_as = max(1, round(height / 3)), max(1, round(width / 3))
    squares = []
    for top, left in itertools.product(range(PLACES), repeat=2):
        row = round(top * (height - high_as) / (PLACES - 1))
        column = round(left * (width - wide_as) / (PLACES - 1))
        inside_HW = x_NCHW.new_zeros((height, width), dtype=torch.bool)
        inside_HW[row : row + high_as, column : column + wide_as] = True
        squares += [_Square(inside_HW, low, False), _Square(inside_HW, high, True)]
    return squares


def _best_squares(
    logits: Callable[[Tensor], Tensor],
    x_NCHW: Tensor,
    y_N: Tensor,
    squares: list[_Square],
    classes: int,
) -> Tensor:
    """By class, which square leads rows of the others there, by log-probability; int64 (K,)."""
    others_NK = y_N[:, None] != torch.arange(classes, device=y_N.device)
    led = []
    for square in squares:
        with torch.no_grad():
            said_NK = logits(x_NCHW.masked_fill(square.inside_HW, square.colour)).log_softmax(1)
        led.append(torch.where(others_NK, said_NK, 0).sum(0) / others_NK.sum(0).clamp(min=1))
    return torch.stack(led).argmax(0)


def _starts(square: _Square) -> tuple[Tensor, Tensor]:
    """Logits of masks and patterns, (V, 1, 1, H, W): a square, and grey everywhere."""
    mask_HW = torch.where(square.inside_HW, INSIDE, OUTSIDE)
    pattern_HW = torch.full_like(mask_HW, COLOUR if square.bright else -COLOUR)
    starts = (torch.stack([each, torch.zeros_like(each)]) for each in (mask_HW, pattern_HW))
    mask_VHW, pattern_VHW = starts
    return mask_VHW[:, None, None], pattern_VHW[:, None, None]


def _smallest(
    logits: Callable[[Tensor], Tensor],
    x_NCHW: Tensor,
    batches: list[Tensor],
    label: int,
    starts: tuple[Tensor, Tensor],
    limits: tuple[float, float],
) -> tuple[float, Callable[[Tensor], Tensor]]:
    """The area of the smallest spot that sends enough rows of a batch to a class, and that spot.

    Where there is none it is the whole image, and nothing is changed.
    """
    low, high = limits
    mask_V11HW, pattern_V11HW = starts
    mask = mask_V11HW.clone().requires_grad_(True)
    pattern = pattern_V11HW.repeat(1, 1, x_NCHW.shape[1], 1, 1).requires_grad_(True)
    optimiser = torch.optim.Adam([mask, pattern], lr=LR, betas=BETAS)
    weight_V = torch.ones(len(mask), device=mask.device)
    area, best = 1.0, (torch.zeros_like(mask[0]), torch.zeros_like(pattern[0]))
    for rows in batches:
        with torch.enable_grad():
            m, p = mask.sigmoid(), low + (high - low) * pattern.sigmoid()
            x_VBCHW = (1 - m) * x_NCHW[rows] + m * p
            z = logits(x_VBCHW.flatten(0, 1))
            loss = F.cross_entropy(
                z, z.new_full((len(z),), label, dtype=torch.int64), reduction="none"
            )
            area_V = m.mean((1, 2, 3, 4))
            aims = loss.view(len(mask), -1).mean(1) + weight_V * area_V
            gradients = torch.autograd.grad(aims.sum(), [mask, pattern])
        enough_V = (z.argmax(1) == label).view(len(mask), -1).float().mean(1) >= GOAL
        found_V = torch.where(enough_V, area_V.detach(), torch.inf)
        start = int(found_V.argmin())
        if float(found_V[start]) < area:
            area, best = float(found_V[start]), (m[start].detach(), p[start].detach())
        weight_V = torch.where(enough_V, weight_V * PACE, weight_V / PACE)
        mask.grad, pattern.grad = gradients
        optimiser.step()
    m, p = best
    return area, lambda x_NCHW: (1 - m) * x_NCHW + m * p


def _said(logits: Callable[[Tensor], Tensor], x_NCHW: Tensor) -> Tensor:
    """The classes that a network tells of images, int64 (N,)."""
    with torch.no_grad():
        said = [logits(each).argmax(1) for each in x_NCHW.split(LOOKED_AT)]
    return torch.cat(said) if said else torch.zeros(0, dtype=torch.int64, device=x_NCHW.device)
