"""What a trained network must know of images with masks, so that it works without them."""

from peerlearn.data.info import RowInfo


class SegmentationInfo(RowInfo):
    """The shape, the classes and the normalisation of images with masks.

    `rows` counts images, `classes` leaves out labels that are ignored, and `multilabel` says
    that masks overlap.
    """

    @property
    def content(self) -> str:
        return f"masks of images of {'×'.join(map(str, self.sample_shape))}"
