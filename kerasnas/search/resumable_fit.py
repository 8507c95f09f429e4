"""A `model.fit` that goes on from the last finished epoch of a training that was killed."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerasnas.search.batches import Batches
from kerasnas.search.data_check import check_validation_freq
from kerasnas.search.epoch_state import EpochState, EpochStateFile
from kerasnas.search.fit_input import bound_arguments, no_retracing_warnings, read_in_order, takes
from kerasnas.search.trial_history import as_number

__all__ = ["ResumableFit"]


class ResumableFit:
    """Stands in for the `fit` of one model in one execution of a trial, whoever calls it and with whatever arguments.

    Weights, optimizer, what callbacks have counted, and the curves are kept after each epoch. Arrays are shuffled by the seed
    and the epoch's number, so that a resumed training sees what the uninterrupted one saw; the order of data sets is their
    own. Only the first call of an execution is resumed: where a HyperModel calls `fit` twice, the trial begins again.

    Args:
        model: a compiled model; its `fit` is replaced until `remove` is called.
        file: where the state is kept.
        saved: the state of an earlier process, if there is one of this execution that fits the model.
        seed: what the order of the data follows from.
        content: called after each epoch for what else is to be kept.
        begin_anew: called with the reason where `saved` does not fit after all: a HyperModel may compile the model again.
        adjust: called before a training on arrays, as in `read_in_order`.
        epochs: of the training, as far as is known before it begins.
    """

    def __init__(
        self,
        model: keras.Model,
        file: EpochStateFile,
        saved: EpochState | None,
        *,
        seed: str,
        content: Callable[[], Mapping[str, Any]],
        begin_anew: Callable[[str], None] = lambda _: None,
        adjust: Callable[[Batches, bool], None] = lambda *_: None,
        epochs: int = 1,
    ) -> None:
        self._model, self._file, self._saved, self._seed, self._content = model, file, saved, seed, content
        self._begin_anew, self._adjust = begin_anew, adjust
        self._fit = model.fit
        self._calls = 0
        self.epochs = epochs  # of the latest call
        object.__setattr__(model, "fit", self)  # not a layer: Keras need not track it

    def __call__(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does.

        Raises:
            InvalidArgument: for epochs without validation.
        """
        arguments = bound_arguments(self._fit, args, kwargs)
        check_validation_freq(arguments["validation_freq"])
        self._calls += 1
        self.epochs = int(arguments["epochs"])
        if arguments["verbose"] == "auto" and takes(self._fit, "verbose"):  # the search shows its own progress
            arguments["verbose"] = 0
        if isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            return self._fit(**arguments.maps[0])
        steady = read_in_order(arguments, f"{self._seed}/{self._calls}", adjust=self._adjust)
        listed = sorted(keras.tree.flatten(arguments["callbacks"] or []), key=lambda each: getattr(each, "comes_last", False))
        first, saved = self._calls == 1, self._saved if self._calls == 1 else None
        problem = None if saved is None else saved.prepare(self._model)
        if problem is not None:
            self._begin_anew(problem)
            saved = None
        if saved is not None:
            saved.restore(self._model)
            # A training that had ended by itself does not go on.
            arguments["initial_epoch"] = self.epochs if saved.content["ended"] else saved.content["epoch"]
        if not first:
            self._file.remove()
        keeper = [_Keeper(self._file, saved, listed, self._content)] if first else []
        arguments["callbacks"] = [steady, *listed, *keeper]
        with no_retracing_warnings():
            return self._fit(**arguments.maps[0])

    def remove(self) -> None:
        """Give the model its own `fit` back."""
        if "fit" in vars(self._model):
            object.__delattr__(self._model, "fit")


class _Keeper(keras.callbacks.Callback):
    """Comes last: saves the training after each epoch, and gives the other callbacks back what they had counted."""

    def __init__(
        self,
        file: EpochStateFile,
        saved: EpochState | None,
        others: list[keras.callbacks.Callback],
        content: Callable[[], Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self._file, self._saved, self._others, self._content = file, saved, others, content

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        if self._saved is not None:
            self._saved.restore_callbacks(self._others)
            self.model.history.history.update({name: list(v) for name, v in self._saved.content["curves"].items()})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The History callback comes after this one.
        curves = {name: [as_number(value) for value in values] for name, values in self.model.history.history.items()}
        for name, value in (logs or {}).items():
            curves.setdefault(name, []).append(as_number(value))
        ended = bool(self.model.stop_training)
        content = {"epoch": epoch + 1, "ended": ended, "curves": curves, **self._content()}
        self._file.save(content, self.model, self._others)
