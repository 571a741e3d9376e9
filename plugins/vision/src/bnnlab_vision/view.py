"""Images that are changed whenever they are looked up, and not stored."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from bnnlab.interfaces.examples import StoredImages


class View(StoredImages):
    """Stored images as a function shows them.

    Args:
        images: The images `(N, C, H, W)`, in memory or on disk.
        change: Maps images `(B, C, H, W)` to others; a function of each image alone.
        shape: Shape of one changed image.
    """

    def __init__(
        self,
        images: Tensor | StoredImages,
        change: Callable[[Tensor], Tensor],
        shape: tuple[int, ...],
    ) -> None:
        self._images, self._change = images, change
        self.shape = (images.shape[0], *shape)

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each piece of rows as they are shown."""
        images = self._images
        if isinstance(images, StoredImages):
            return map(self._change, images.read(pieces))
        return (self._change(images.index_select(0, piece)) for piece in pieces)
