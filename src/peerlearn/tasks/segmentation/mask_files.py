"""Masks of images, as PNG files whose pixel values are classes, in a folder that gets all or none.

Shape suffixes: N images, K classes, H height, W width.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.images import require_pillow
from peerlearn.errors import InputError
from peerlearn.files import cannot_write, resolved
from peerlearn.names import LONGEST
from peerlearn.reading.predictions import Inputs, Prediction, failed_lines, write_table
from peerlearn.tasks.segmentation.data.masks import IGNORED, SegmentationInfo

SUMMARY = "summary.csv"
COLUMNS = ("input", "row", "mask", "confidence")
OVERLAID = (1, 3, 4)
"""Channels of images that can be shown."""

Bytes = NDArray[np.uint8]
Read = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class ImageInputs(Inputs):
    """Images of one size to segment."""

    names: tuple[str, ...]
    """What to call each of them, with `/` between folders and without suffix."""
    pictures: Read
    """Reads the images as they are, (N, C, H, W)."""
    steps_each: int
    """In how many tiles each of them is read; 1 where it is read whole."""

    @property
    def steps(self) -> int:
        return len(self.sources) * self.steps_each


class Decisions(NamedTuple):
    """What a prediction says of an image.

    Shapes:
        masks: by label ("" for all classes in one), uint8 (H, W): classes, `IGNORED` where the
            networks give no number; of a single label, 1 where it holds.
        fractions: of the pixels of each class, (K,).
        colours: uint8 (H, W, 3), and where these count, bool (H, W).
    """

    masks: dict[str, Bytes]
    fractions: list[float]
    confidence: float
    colours: Bytes
    coloured: NDArray[np.bool_]


class Staging:
    """Files that are made in one folder, on their way into another, `out`."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out
        self.names: dict[str, str | None] = {}
        self.read: set[Path] = set()

    def path(self, name: str, source: str | None = None) -> Path:
        """Where to write a file, whose name may hold `/`, made of a source that stays as it is.

        Raises InputError: the name is taken by another file of the same folder, or by a source.
        """
        if name in self.names:
            raise InputError(
                f"--out {self.out}: {name} would be made of {self.names[name]} and of {source}; "
                "predict them into folders of their own"
            )
        self.names[name] = source
        if source is not None:
            self.read.add(resolved(Path(source)))
        self._check_inputs([name])
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self) -> None:
        """Move everything into place, replacing what has the same name, unless it is a source."""
        self._check_inputs(self.names)
        if not self.out.exists():
            self.folder.chmod(0o755)
            self.folder.rename(self.out)
            return
        for name in self.names:
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).replace(self.out / name)

    def _check_inputs(self, names: Iterable[str]) -> None:
        for name in names:
            if resolved(self.out / name) in self.read:
                raise InputError(
                    f"--out {self.out}: {self.out / name} is an input, and would be overwritten; "
                    "name another folder"
                )


@contextmanager
def _filled(out: Path) -> Iterator[Staging]:
    """Run a block that makes files for the folder `out`; if it fails, there are none of them.

    Raises RunError: a file cannot be written.
    """
    folder: Path | None = None
    try:
        # Within `out` where it is there: it may be a disk of its own, to which nothing is renamed.
        beside = out if out.exists() else out.parent
        beside.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=beside))
        staging = Staging(folder, out)
        yield staging
        staging.publish()
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_masks(
    predictions: Iterable[Prediction],
    info: SegmentationInfo,
    out: Path,
    overlay: bool = False,
    probabilities: bool = False,
    failed: Collection[str] = (),
) -> int:
    """Write a PNG for every image, and `summary.csv` about all of them, into a folder.

    `NAME.png` holds classes as pixel values and shows them in colours; where masks overlap there is
    a `NAME-LABEL.png` of 0 and 1 for every label. The summary has a line an image: `input, row,
    mask, confidence`, then for each class the fraction of its pixels. Confidence is the mean
    probability of what was decided, over pixels (and labels). Gives the number of images.

    Args:
        predictions: from `Predictor.predict`; written as they are made.
        info: of the run.
        out: folder, filled when all is made, or not at all; files of the same names are replaced.
        overlay: write `NAME-overlay.png` too, the image under half-transparent colours.
        probabilities: write `NAME.npz` too, with `probabilities` (K, H, W) and `class_names`.
        failed: inputs that could not be read; their lines of the summary say nothing more.

    Raises InputError: a file would be written twice, or over an input; images that cannot be shown.
    Raises RunError: a file cannot be written.
    """
    require_pillow()
    check_overlay(info, overlay)
    labels, names = _file_labels(info.class_names), np.array(info.class_names)
    lines: list[list[str]] = []
    with _filled(out) as staging:
        for prediction in predictions:
            rows = prediction.rows
            assert isinstance(rows, ImageInputs)
            pictures = rows.pictures() if overlay else [None] * len(rows.names)
            for source, number, name, p_KHW, picture in zip(
                rows.sources, rows.numbers, rows.names, prediction.probabilities, pictures,
                strict=True,
            ):  # fmt: skip
                made = _several(p_KHW, labels) if info.multilabel else _one(p_KHW)
                files = "|".join(_save_masks(staging, name, source, made.masks))
                if picture is not None:
                    _save_overlay(staging.path(f"{name}-overlay.png", source), picture, made)
                if probabilities:
                    with staging.path(f"{name}.npz", source).open("wb") as file:
                        np.savez(file, probabilities=p_KHW.float().numpy(), class_names=names)
                numbers = (f"{value:.6g}" for value in (made.confidence, *made.fractions))
                lines.append([source, str(number), files, *numbers])
        header = [*COLUMNS, *info.class_names]
        lines += failed_lines(failed, len(header))
        write_table(staging.path(SUMMARY), header, lines)
    return len(lines) - len(failed)


def check_overlay(info: SegmentationInfo, overlay: bool) -> None:
    """Refuse to show images of another number of channels than `OVERLAID`."""
    if overlay and info.channels not in OVERLAID:
        raise InputError(
            f"--overlay: shows images of {', '.join(map(str, OVERLAID))} channels; the run was "
            f"trained on {info.content}"
        )


def _one(p_KHW: Tensor) -> Decisions:
    p_HW, chosen_HW = p_KHW.max(0)
    blank_HW = p_HW.isnan()
    chosen_HW = chosen_HW.masked_fill(blank_HW, IGNORED)
    counts = torch.bincount(chosen_HW.flatten(), minlength=IGNORED + 1)[: len(p_KHW)]
    mask = chosen_HW.byte().numpy()
    fractions = (counts / mask.size).tolist()
    return Decisions({"": mask}, fractions, p_HW.mean().item(), palette()[mask], ~blank_HW.numpy())


def _several(p_KHW: Tensor, labels: Sequence[str]) -> Decisions:
    """Any number of labels for every pixel, shown in the mean of their colours."""
    holds_KHW = p_KHW > 0.5
    count_HW = holds_KHW.sum(0)
    colours_K3 = torch.from_numpy(palette()[1 : len(labels) + 1]).float()
    mean_HW3 = torch.einsum("khw,kc->hwc", holds_KHW.float(), colours_K3) / count_HW[..., None]
    return Decisions(
        dict(zip(labels, holds_KHW.byte().numpy(), strict=True)),
        holds_KHW.double().mean((1, 2)).tolist(),
        torch.maximum(p_KHW, 1 - p_KHW).mean().item(),
        mean_HW3.nan_to_num().byte().numpy(),
        (count_HW > 0).numpy(),
    )


def _save_masks(
    staging: Staging, name: str, source: str, masks: Mapping[str, Bytes]
) -> Iterator[str]:
    """Write the masks of an image, one after the other; gives the names of the files."""
    from PIL import Image

    colours = palette()
    for number, (label, mask) in enumerate(masks.items(), 1):
        file = f"{name}-{label}.png" if label else f"{name}.png"
        image = Image.fromarray(mask)
        image.putpalette((colours[[0, number]] if label else colours).tobytes())
        image.save(staging.path(file, source))
        yield file


def _save_overlay(path: Path, picture_CHW: Tensor, made: Decisions) -> None:
    """Floats are stretched from black to white, alpha is dropped."""
    from PIL import Image

    rgb = picture_CHW[:3].expand(3, -1, -1)
    if rgb.is_floating_point():
        low, high = rgb.min(), rgb.max()
        rgb = (255 * (rgb - low) / (high - low).clamp(min=1e-12)).byte()
    shown = rgb.permute(1, 2, 0).contiguous().numpy()
    mixed = shown // 2 + made.colours // 2
    Image.fromarray(np.where(made.coloured[..., None], mixed, shown)).save(path)


def _file_labels(names: Sequence[str]) -> list[str]:
    """Names of labels as parts of names of files; those that would be equal get their number."""
    plain = [re.sub(r"[^\w.+-]+", "_", name)[:LONGEST] or "_" for name in names]
    alike = Counter(one.casefold() for one in plain)
    return [f"{one}{n}" if alike[one.casefold()] > 1 else one for n, one in enumerate(plain)]


def palette() -> NDArray[np.uint8]:
    """256 distinct colours (256, 3), the first black.

    Those of the PASCAL VOC segmentations, which most viewers of masks know: the bits of a class,
    lowest first, are dealt to red, green and blue in turn, and fill each of them from its highest
    bit down.
    """
    classes = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((classes >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours
