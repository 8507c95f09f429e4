"""What a classifier answers about images: the one thing that every explanation asks for."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.log_probabilities import log_probabilities

__all__ = ["Scores"]

_CHUNK_PIXELS = 1 << 19  # about ten images of 224 x 224 at once, whatever the number of images


class Scores(ABC):
    """The scores of a classifier, which may be a Keras model, an ONNX or LiteRT file or any function.

    Attributes:
        images: shape (batch, height, width, channels), the checked input, in its own dtype.
        classes: the number of classes.
        score_kind: "logit" if a softmax or sigmoid was left out; of a black box that gives probabilities p "log-odds",
            log(p / (1 - p)); of a Keras model that does without ending in a softmax "log-probability" (for one unit its
            log-odds); "output" if it is what the classifier gives.
        single: whether it has one output unit z, which stands for two classes with scores -z and z.
        sigmoid: whether the probability of each class is the sigmoid of its score; else they are the softmax.
    """

    images: np.ndarray
    classes: int
    score_kind: str
    single: bool
    sigmoid: bool

    @property
    def chunk(self) -> int:
        """How many images are computed at once."""
        return max(1, min(256, _CHUNK_PIXELS // int(np.prod(self.images.shape[1:3]))))

    def pixels(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the images from `start` to `stop` as float32."""
        pixels: np.ndarray = self.images[start:stop].astype(np.float32)
        return pixels

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Return the class scores of float32 images of shape (n, height, width, channels); shape (n, classes), float64.

        Raises:
            InvalidArgument: if a score is NaN or infinite, as those of a network that has diverged are.
        """
        parts = [self._evaluate(x[i : i + self.chunk]) for i in range(0, len(x), self.chunk)]
        scores = np.concatenate(parts).astype(np.float64)
        if not np.all(np.isfinite(scores)):
            raise InvalidArgument("Expected finite scores; the model answered with NaN or infinity. Look at its weights.")
        return scores

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return what the classifier says the classes' probabilities are, shape (n, classes); softmax if it gives none."""
        if self.sigmoid:
            return np.asarray(1 / (1 + np.exp(-np.clip(scores, -700, 700))))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))

    def log_probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return the logarithms of probabilities that add up to 1, shape (n, classes): of log-odds theirs, else of the softmax.

        Of one unit z there are the scores -z and z, whose softmax would be the sigmoid of 2 z: its own sigmoid is taken.
        """
        if self.score_kind == "log-odds":
            return -np.logaddexp(0, -scores)
        return log_probabilities(scores[:, 1:] if self.single else scores, from_logits=True)

    def resolve_target(self, target: int | ArrayLike | None) -> np.ndarray:
        """Return one class per image: `target` for all, one each, or the predicted class for None; shape (batch,).

        Raises:
            InvalidArgument: if `target` is no class, or not one for each image.
        """
        count = len(self.images)
        if target is None:
            return np.asarray(self.evaluate(self.pixels()).argmax(axis=-1))
        classes = np.asarray(target)
        if classes.dtype.kind not in "iu" or classes.shape not in ((), (count,)):
            raise InvalidArgument(
                f"Expected target to be None, a class number or one class number for each of the {count} images; "
                f"came {target!r}. Pass integers from 0 to {self.classes - 1}."
            )
        if classes.min() < 0 or classes.max() >= self.classes:
            raise InvalidArgument(f"Expected target from 0 to {self.classes - 1}; came {target!r}. Pass a class of the model.")
        return np.broadcast_to(classes, (count,)).astype(np.int64)

    @abstractmethod
    def _evaluate(self, x: np.ndarray) -> np.ndarray:
        """Return the scores of at most `chunk` images."""
