"""Whether one class is reached more easily than the others, as the target of a backdoor may be.

Nothing of a trigger is known. For each class a universal perturbation, one small change of all
images, is fitted on clean rows of the other classes to send them there; on further clean rows it is
counted how many go. A backdoor is a short cut to its target, so few small changes lead there.

The largest share is set beside the others as in Wang et al., "Neural Cleanse: Identifying and
Mitigating Backdoor Attacks in Neural Networks", IEEE S&P 2019: its distance from their median, in
robust standard deviations (median absolute deviation, MAD). Deviations:

- they fit a mask and a pattern of any strength and compare sizes of masks; here the change has a
  bound (L∞) and shares are compared, which needs no weight between two aims;
- a deviation is never taken for less than the error of a share of so few rows, for the MAD of a
  handful of classes may be 0;
- they raise an alarm above 2. Among classes that do not differ, with normal shares, the largest is
  above 2 in half of all networks, be there 5 or 10 of them: here an alarm is what 5 % of such
  networks would raise, by simulation for the number of classes.

Shape suffixes: N rows, C channels, K classes, S simulated networks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peerlearn.data.augment import Normalisation
from peerlearn.data.splits import stratified_rows
from peerlearn.errors import InputError
from peerlearn.modes import evaluating
from peerlearn.randomness import keyed_generator, seeded_rng
from peerlearn.transfer.outputs import as_peer_output

BOUND, STEPS, BATCH = 8 / 255, 10, 256
FALSE_ALARMS = 0.05
"""Share of networks whose classes do not differ that would raise an alarm."""
FEWEST_CLASSES = 3
NORMAL = 1.4826
"""Standard deviations of a normal distribution in one MAD."""
CANNOT_SEE = (
    "The check sees a class that small changes of every pixel lead to. It cannot see triggers that "
    "take larger changes than its bound and leave no short cut below it, backdoors of all classes "
    "at once (all-to-all), triggers that depend on the image, or rows that differ from the clean "
    "ones given; and a class may be easy to reach without any backdoor. Nothing that stands out is "
    "no proof that nothing is there."
)


@dataclass(frozen=True)
class Suspicion:
    """How easily each class is reached, and whether one of them stands out.

    Attributes:
        shares: by class, of rows that are not of it and not taken for it, those that its universal
            perturbation sends there.
        rows: by class, how many rows that share is of.
        reached: the class with the largest share.
        index: how far that share is from the median of the others, in robust standard deviations;
            None where there are too few classes to tell.
        threshold: the index from which on it stands out; None as before.
        bound: largest change of a pixel, of all of its range.
    """

    shares: tuple[float, ...]
    rows: tuple[int, ...]
    reached: int
    index: float | None
    threshold: float | None
    bound: float

    @property
    def suspect(self) -> int | None:
        """The class that stands out; None where none does."""
        if self.index is None or self.threshold is None or self.index < self.threshold:
            return None
        return self.reached

    def words(self, class_names: tuple[str, ...]) -> str:
        """A sentence: `suspicious of class X`, or `nothing stands out`, with the numbers."""
        name, share = class_names[self.reached], self.shares[self.reached]
        others = [each for number, each in enumerate(self.shares) if number != self.reached]
        median = float(torch.tensor(others).quantile(0.5))
        found = f"{share:.1%} of other rows reach class {name!r}, median of the others {median:.1%}"
        if self.index is None or self.threshold is None:
            return (
                f"nothing stands out, for {len(self.shares)} classes are too few to tell ({found})"
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
    bound: float = BOUND,
    steps: int = STEPS,
    seed: int = 0,
) -> Suspicion:
    """Look for a class that small universal perturbations reach most easily; see the module.

    Half of the rows fits perturbations, the others are counted. It is done in fp32 on the network's
    own device; modes, gradients and generators are left as they were found.

    Args:
        network: reads normalised images and gives logits, or what `as_peer_output` reads.
        x_NCHW: clean images as they are kept, uint8 or float.
        y_N: int64, their classes.
        classes: how many the network tells apart.
        normalisation: what makes of pixels, in [0, 1] where they are uint8, what it reads.
        bound: largest change of a pixel, of its range: [0, 1], or more where more occurs.
        steps: of sign gradient, each of 2.5 bound / steps (Madry et al., ICLR 2018).
        seed: key of which rows fit, and of batches.

    Raises InputError: clean rows of fewer than two classes in either half.
    """
    device = next(network.parameters()).device
    x_NCHW = (x_NCHW.float() / 255 if x_NCHW.dtype == torch.uint8 else x_NCHW.float()).to(device)
    low, high = min(0.0, float(x_NCHW.min())), max(1.0, float(x_NCHW.max()))
    fitting, counted = _halves(y_N, seed)
    y_N, most = y_N.to(device), bound * (high - low)

    def logits(x: Tensor) -> Tensor:
        return as_peer_output(network(normalisation.apply(x)), "to look into").logits.float()

    shares, rows = [], []
    with (
        evaluating(network),
        seeded_rng(seed, "suspicion"),
        torch.autocast(device.type, enabled=False),
    ):
        said_N = _said(logits, x_NCHW)
        for label in range(classes):
            others = fitting[(y_N[fitting] != label).cpu()]
            change = torch.zeros_like(x_NCHW[0])
            for step in range(steps):
                key = (seed, "suspicion", label, step)
                order = torch.randperm(len(others), generator=keyed_generator(*key))
                x = x_NCHW[others[order[:BATCH]]]
                with torch.enable_grad():
                    change.requires_grad_(True)
                    z = logits((x + change).clamp(low, high))
                    loss = F.cross_entropy(z, z.new_full((len(z),), label, dtype=torch.int64))
                    (gradient,) = torch.autograd.grad(loss, change)
                change = change.detach() - 2.5 * most / steps * gradient.sign()
                change = change.clamp(-most, most)
            free = ((y_N != label) & (said_N != label))[counted.to(device)].cpu()
            left = counted[free]
            sent = _said(logits, (x_NCHW[left] + change).clamp(low, high)) == label
            rows.append(len(left))
            shares.append(float(sent.double().mean()) if len(left) else 0.0)
    return judged(shares, rows, bound)


def judged(shares: list[float], rows: list[int], bound: float = BOUND) -> Suspicion:
    """Whether the class with the largest share stands out; see `Suspicion` for the arguments."""
    shares_K = torch.tensor(shares, dtype=torch.float64)
    reached = int(shares_K.argmax())
    index = threshold = None
    if len(shares) >= FEWEST_CLASSES:
        others = torch.cat([shares_K[:reached], shares_K[reached + 1 :]])
        median, mad = _median_mad(others[None])
        count = max(1, min(rows))
        smooth = (median * count + 1) / (count + 2)
        error = (smooth * (1 - smooth) / count).sqrt()
        index = float((shares_K[reached] - median) / torch.maximum(mad, error))
        threshold = alarm(len(shares))
    return Suspicion(tuple(shares), tuple(rows), reached, index, threshold, bound)


def alarm(classes: int, level: float = FALSE_ALARMS) -> float:
    """The index that a share `level` of networks exceeds whose classes do not differ.

    Their shares are independent normal numbers, simulated under a fixed key.
    """
    networks = max(2_000, 500_000 // classes)
    generator = keyed_generator(0, "alarm", classes)
    shares_SK = torch.randn(networks, classes, generator=generator).sort(1).values.double()
    median_S, mad_S = _median_mad(shares_SK[:, :-1])
    return float(((shares_SK[:, -1] - median_S) / mad_S).quantile(1 - level))


def _median_mad(values_SK: Tensor) -> tuple[Tensor, Tensor]:
    """The median of each row, and its MAD in standard deviations of a normal distribution."""
    median_S1 = values_SK.quantile(0.5, dim=1, keepdim=True)
    return median_S1[:, 0], NORMAL * (values_SK - median_S1).abs().quantile(0.5, dim=1)


def _halves(y_N: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of the rows that fit perturbations, and of those that are counted."""
    fitting = stratified_rows(
        y_N.cpu(), len(y_N), seed, "suspicion", lambda counts, _: (counts + 1) // 2
    )
    left = torch.ones(len(y_N), dtype=torch.bool)
    left[fitting] = False
    counted = left.nonzero()[:, 0]
    fewest = min(len(y_N[each].unique()) for each in (fitting, counted))
    if fewest < 2:
        raise InputError(
            f"suspicion: {len(y_N)} clean rows, of {fewest} classes in one half of them; allowed: "
            "at least 2 rows of each of 2 classes"
        )
    return fitting, counted


def _said(logits: Callable[[Tensor], Tensor], x_NCHW: Tensor) -> Tensor:
    """The classes that a network tells of images, int64 (N,)."""
    with torch.no_grad():
        said = [logits(each).argmax(1) for each in x_NCHW.split(BATCH)]
    return torch.cat(said) if said else torch.zeros(0, dtype=torch.int64, device=x_NCHW.device)
