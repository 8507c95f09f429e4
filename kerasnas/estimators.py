"""The fit-style face of kerasnas: it wires the parts together and holds no algorithm of its own."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import classification_report
from sklearn.utils.validation import check_is_fitted

import kerasnas
from kerasnas.classifier_compression import compress_classifier, export_chosen
from kerasnas.classifier_files import read_classifier, save_classifier, write_classifier
from kerasnas.decided_classes import probabilities_of
from kerasnas.errors import InvalidArgument
from kerasnas.explain.by_name import map_method
from kerasnas.image_data import (
    channel_statistics,
    check_lengths,
    class_weights,
    collect,
    pixel_range,
    split,
    to_codes,
    to_images,
)
from kerasnas.oracles.by_name import oracle_by_name
from kerasnas.search.claim import Claim, objective_text
from kerasnas.search.data_check import check_metrics
from kerasnas.search.final_fit import check_finalists, final_fit
from kerasnas.search.patience import patience
from kerasnas.search.tuner import NASTuner
from kerasnas.spaces.by_name import space_by_name

if TYPE_CHECKING:
    from kerasnas.explain import Attribution
    from kerasnas.export import LiteRTFile, OnnxFile

__all__ = ["ImageClassifier"]


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """Search for an image classifier, train the winner on all the data, explain it, compress it, export it.

    Args:
        max_trials: number of networks to try, >= 1, the defaults of the space first; None for no limit, which needs `max_time`.
        max_time: seconds for the search, after which the trial under way ends; the final training comes on top of it.
        objective: metric to search for, as in KerasTuner: "val_accuracy", "val_loss", a `kt.Objective`, a
            `kerasnas.objectives.MnasNetReward`, or a list of objectives.
        oracle: "auto" (which is "dyna"), "evolution", "local-search", "ppo", "q-learning", "random", "reinforce", or any
            `kt.Oracle` but the HyperbandOracle (stopping="asha" does its job); its own objective and max_trials then count.
        space: "auto" (by the size of the pictures), "tiny", "small", "base", or any `kt.HyperModel`; one of your own gets
            pictures and integer labels 0 to classes - 1, and its models must give probabilities.
        stopping: what ends trials early that will not win: "auto" (which is "learning-curve"), "asha", any
            `kerasnas.stopping.StoppingRule`, or None.
        inherit: True starts each network from the weights of the most similar good one: good networks sooner, and scores that
            compare less well.
        limits: what no network may exceed: a mapping with any of "parameters", "macs", "activation_bytes", "latency_ms".
        finalists: this many best networks are trained once more and compared before the winner is trained on all the data.
        ensemble: the winner is the weighted mean of up to this many of the best networks, as one model; 1 for a single one.
        directory: folder of searches; the working folder by default.
        project_name: folder of this search; `fit` resumes a search that it finds there, and refuses one on other data.
        overwrite: True deletes an earlier search of that name.
        seed: any integer >= 0; None draws one.
    Attributes:
        classes_: the labels, in the order of the model's outputs, shape (classes,).
        model_: the winner, trained on all the data; takes raw pixels of shape (batch, height, width, channels).
        record_: the `SearchRecord`.
        best_hyperparameters_: the winner's hyperparameters, as a dict.
        epochs_: epochs of the final training: if the winner's trial was stopped early, up to the last that equals its best.
        members_: trial id to share in the output of each network of the winner.
        history_: metrics of the final training, name to one value per epoch.
        pixel_range_: lowest and highest pixel value seen in training; 0 and 255 of pictures in bytes (uint8, no other integers)
            in which some value is above 16.
    Example:
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> classifier = ImageClassifier(max_trials=20, seed=0)
        >>> classifier.fit(digits.images, digits.target, epochs=10).export("digits.onnx")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        max_trials: int | None = 20,
        max_time: float | None = None,
        objective: Any = "val_accuracy",
        oracle: Any = "auto",
        space: Any = "auto",
        stopping: Any = "auto",
        inherit: bool = False,
        limits: Any = None,
        finalists: int = 1,
        ensemble: int = 1,
        directory: Any = None,
        project_name: str = "image_classifier",
        overwrite: bool = False,
        seed: int | None = None,
    ) -> None:
        self.max_trials = max_trials
        self.max_time = max_time
        self.objective = objective
        self.oracle = oracle
        self.space = space
        self.stopping = stopping
        self.inherit = inherit
        self.limits = limits
        self.finalists = finalists
        self.ensemble = ensemble
        self.directory = directory
        self.project_name = project_name
        self.overwrite = overwrite
        self.seed = seed

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        validation_split: float = 0.2,
        validation_data: Any = None,
        epochs: int = 10,
        batch_size: int = 32,
        callbacks: list[keras.callbacks.Callback] | None = None,
        class_weight: Any = None,
        verbose: int | str = "auto",
    ) -> "ImageClassifier":
        """Search, then train the best configuration on all the data, validation data included.

        Args:
            x: pictures, shape (samples, height, width) or (samples, height, width, channels), integers or floats in whatever
                range the model is to take; or a `tf.data.Dataset` or Keras `PyDataset` of (pictures, labels), which is read
                into memory.
            y: labels of any kind, shape (samples,), or one-hot rows.
            validation_split: share of the data, in (0, 1), that scores the trials; stratified, not used with validation_data.
            validation_data: (x, y) or a dataset that scores the trials instead.
            epochs: epochs of each trial at most, >= 1.
            batch_size: samples in one training step, >= 1.
            callbacks: Keras callbacks of each trial; None stops a trial early after max(3, epochs // 4) epochs without gain.
            class_weight: label to weight in the loss of the training, or "balanced"; scores and `compress` do not use it.
            verbose: 0 for silence.
        Raises:
            InvalidArgument: for data or settings that cannot be used, or if `project_name` holds a search on other data.
        """
        _check_positive(finalists=self.finalists, ensemble=self.ensemble, epochs=epochs, batch_size=batch_size)
        if self.max_trials is not None or self.max_time is None:
            _check_positive(max_trials=self.max_trials)
        if self.seed is not None and (not isinstance(self.seed, int | np.integer) or self.seed < 0):
            raise InvalidArgument(f"Expected `seed` to be an integer >= 0 or None, got {self.seed!r}.")
        seed = None if self.seed is None else int(self.seed)
        oracle = oracle_by_name(self.oracle, objective=self.objective, max_trials=self.max_trials, seed=seed)
        train, valid, classes = split(x, y, validation_split, validation_data, self.seed)
        weights = class_weights(class_weight, classes, train[1])
        mean, deviation = channel_statistics(train[0])
        space, hypermodel = space_by_name(self.space, train[0].shape[1:], len(classes), mean=mean, deviation=deviation)
        check_metrics(hypermodel, oracle.objective)
        check_finalists(oracle.objective, self.finalists)
        callbacks = patience(oracle.objective, int(epochs)) if callbacks is None else callbacks
        claim = Claim(
            Path(self.directory or ".") / self.project_name,
            arrays=(*train, *valid),
            settings={
                "epochs": int(epochs),
                "batch_size": int(batch_size),
                "space": space,
                "objective": objective_text(oracle.objective),
                "class_weight": weights and {str(label): weight for label, weight in weights.items()},
            },
            split={} if validation_data is not None else {"seed": seed, "validation_split": float(validation_split)},
        )
        if not self.overwrite:
            claim.check()
        tuner = NASTuner(
            hypermodel,
            oracle,
            max_time=self.max_time,
            stopping="learning-curve" if self.stopping == "auto" else self.stopping,
            inherit=self.inherit,
            limits=self.limits,
            keep_checkpoints=max(3, self.finalists, self.ensemble),
            directory=self.directory,
            project_name=self.project_name,
            overwrite=self.overwrite,
        )
        claim.write()
        how: dict[str, Any] = {"epochs": int(epochs), "batch_size": batch_size, "verbose": verbose}
        how |= {} if weights is None else {"class_weight": weights}  # a fit of your own need not know of it
        tuner.search(*train, validation_data=valid, callbacks=callbacks, **how)
        final = final_fit(tuner, train, valid, finalists=self.finalists, ensemble=self.ensemble, **how)
        self.record_ = tuner.record()
        self._trials_ended = len(self.record_.ended)  # the search may go on
        self.classes_ = classes
        self.best_hyperparameters_ = dict(final.best.values)
        self.epochs_, self.history_, self.members_ = final.epochs, dict(final.history), dict(final.weights)
        self.pixel_range_ = pixel_range(train[0], valid[0])
        self.model_ = final.model
        try:
            self._check_probabilities(train[0][:8])
        except InvalidArgument:
            del self.model_  # not fitted
            raise
        return self

    def predict_proba(self, x: Any) -> NDArray[np.float32]:
        """Return the probability of each class, shape (samples, classes), columns in the order of `classes_`."""
        check_is_fitted(self)
        return probabilities_of(self.model_, self.model_.predict(self._images(x), batch_size=256, verbose=0))

    def predict(self, x: Any) -> NDArray[Any]:
        """Return the most probable label of each picture, shape (samples,)."""
        probabilities = self.predict_proba(x)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def evaluate(self, x: Any, y: Any = None) -> dict[str, float]:
        """Return {"accuracy": share of right labels, "loss": mean cross-entropy in nats} on labelled pictures."""
        codes, probabilities = self._judge(x, y)
        likelihoods = np.take_along_axis(probabilities, codes[:, np.newaxis], axis=1).astype("float64")
        return {
            "accuracy": float(np.mean(probabilities.argmax(axis=1) == codes)),
            "loss": float(-np.mean(np.log(np.maximum(likelihoods, 1e-12)))),
        }

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy on labelled pictures."""
        codes, probabilities = self._judge(x, y)
        return float(np.average(probabilities.argmax(axis=1) == codes, weights=sample_weight))

    def classification_report(self, x: Any, y: Any = None) -> str:
        """Return scikit-learn's table of precision, recall and F1 of each class."""
        codes, probabilities = self._judge(x, y)
        labels, names = np.arange(len(self.classes_)), [str(c) for c in self.classes_]
        predicted = probabilities.argmax(axis=1)
        return str(classification_report(codes, predicted, labels=labels, target_names=names, zero_division=0))

    def _judge(self, x: Any, y: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the index of each true label and the probabilities of each picture."""
        check_is_fitted(self)
        x, y = collect(x, y)
        codes, probabilities = to_codes(y, self.classes_), self.predict_proba(x)
        check_lengths(probabilities, codes)
        return codes, probabilities

    def explain(self, x: Any, *, method: str | None = None, target: Any = None, **kwargs: Any) -> "Attribution":
        """Return where in each picture the evidence for a label lies.

        Args:
            x: pictures, as for `predict`.
            method: "grad_cam", "occlusion", "rise", or another method of `kerasnas.explain` that gives an `Attribution`; None
                for Grad-CAM, or integrated gradients where it marks nothing in most pictures, as on tiny ones.
            target: a label, or one for each picture; the predicted one by default.
            **kwargs: passed on to the method of `kerasnas.explain`.
        Raises:
            InvalidArgument: for an unknown method or label.
        """
        check_is_fitted(self)
        explain = map_method(method)
        if target is not None:
            codes = to_codes(np.atleast_1d(target), self.classes_, name="target")
            target = int(codes[0]) if np.ndim(target) == 0 else codes
        attribution = explain(self.model_, self._images(x), target=target, **kwargs)
        return dataclasses.replace(attribution, labels=tuple(str(label) for label in self.classes_))

    def compress(
        self,
        x: Any,
        y: Any = None,
        *,
        sparsity: float | None = None,
        channels: Any = None,
        clusters: int | None = None,
        goal: str | None = None,
        **kwargs: Any,
    ) -> "ImageClassifier":
        """Return a copy with a smaller model, fine-tuned on labelled pictures.

        Print the copy's `compression_` to read what became of the weights; what it cost, `evaluate` tells.

        Args:
            x: pictures, as for `fit`.
            y: their labels; None with a dataset.
            sparsity: share of the weights that becomes zero, see `compress.prune`; 0.5 if nothing else is asked for.
            channels: share of the channels that goes, or a dict of layers to shares, see `compress.prune_channels`.
            clusters: most distinct values in a kernel, see `compress.cluster`.
            goal: "smallest", "fastest" or "most accurate": what a search over pruning, fine-tuning and file formats is to
                find, see `compression_search.compress`. The copy's `compression_` has the file, the table and the front.
            **kwargs: passed on to the function named; `held_out` and `test` are (pictures, labels).
        Raises:
            InvalidArgument: if more than one of the four is given, or an argument does not fit.
        """
        check_is_fitted(self)
        ways = {"sparsity": sparsity, "channels": channels, "clusters": clusters, "goal": goal}
        return cast(ImageClassifier, compress_classifier(self, x, y, **ways, **kwargs))

    def export_facts(self) -> dict[str, Any]:
        """Return what an exported file is told of the model: labels and preprocessing."""
        labels = [str(label) for label in self.classes_]
        return {"labels": labels, "preprocessing": {"input": "raw pixels", "range": list(self.pixel_range_)}}

    def export(self, path: str | os.PathLike[str], *, x: Any = None, **kwargs: Any) -> "OnnxFile | LiteRTFile":
        """Write the model as a verified ONNX or LiteRT file with its labels; see `export.to_onnx`, `export.to_litert`.

        After `compress(goal=...)` it is a copy of the file that the search chose, 8 bits included; so it is after `save` and
        `load`. To a path that ends in .tflite the network is converted where the chosen file is an ONNX one, or if there are
        settings.

        Args:
            path: file to write, ending in .onnx or .tflite.
            x: pictures to verify it on; by default random ones in the range of the training data.
            **kwargs: passed on; `calibration` of a LiteRT file are pictures, too. Nothing after `compress(goal=...)`.
        """
        check_is_fitted(self)
        if kwargs.get("calibration") is not None:
            kwargs["calibration"] = self._images(kwargs["calibration"])
        found = getattr(self, "_chosen", None)
        converts = Path(path).suffix == ".tflite" and (found is None or found.path.suffix != ".tflite" or kwargs)
        if found is not None and found.model is self.model_ and not converts:
            return export_chosen(found, path, None if x is None else self._images(x), kwargs)
        write = kerasnas.export.to_litert if Path(path).suffix == ".tflite" else kerasnas.export.to_onnx
        file: OnnxFile | LiteRTFile = write(
            self.model_,
            path,
            **self.export_facts(),
            x=None if x is None else self._images(x),
            **kwargs,
        )
        return file

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `model.keras`, which plain Keras loads, and `classifier.json` into the folder `path`.

        After `compress(goal=...)` the file that was chosen goes there, too, as chosen.onnx or chosen.tflite. They replace those
        of an earlier classifier; other files stay. The search itself stays in its project folder.

        Raises:
            InvalidArgument: if `path` exists and is no saved classifier.
        """
        check_is_fitted(self)
        save_classifier(self, Path(path))

    def write_files(self, folder: str | os.PathLike[str]) -> None:
        """Write the files of `save` into an existing folder, beside what is there."""
        check_is_fitted(self)
        write_classifier(self, Path(folder))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ImageClassifier":
        """Read what `save` wrote; `record_` is there if the project folder still is.

        Raises:
            InvalidArgument: if `path` is no saved classifier.
        """
        return cast(ImageClassifier, read_classifier(cls, Path(path)))

    def summary(self) -> None:
        """Print the winner's hyperparameters, or those of an ensemble's largest share, its score in the search, and layers."""
        check_is_fitted(self)
        if getattr(self, "record_", None):
            shares = getattr(self, "members_", None) or {self.record_.best.trial_id: 1.0}
            best = next(trial for trial in self.record_.trials if trial.trial_id == max(shares, key=shares.__getitem__))
            number = 1 + self.record_.trials.index(best)
            print(f"Best of {len(self.record_.trials)} trials: {self.record_.objective} {best.score:.4f} (trial {number})")
        print("\n".join(f"  {name}: {value}" for name, value in self.best_hyperparameters_.items()))
        self.model_.summary()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _images(self, x: Any) -> NDArray[Any]:
        x, _ = collect(x) if hasattr(x, "element_spec") or hasattr(x, "num_batches") else (x, None)
        images = to_images(x)
        expected = self.model_.input_shape[1:]
        fits = len(expected) == 3 and all(a in (None, b) for a, b in zip(expected, images.shape[1:], strict=True))
        if not fits:
            raise InvalidArgument(f"Expected pictures of shape {expected}, got {images.shape[1:]}.")
        return images

    def _check_probabilities(self, x: NDArray[Any]) -> None:
        outputs, probabilities = self.model_.predict(x, verbose=0), self.predict_proba(x)
        expected = (len(x), len(self.classes_))
        sums = probabilities.shape == expected and np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
        if not sums or outputs.min() < 0 or outputs.max() > 1.001:
            raise InvalidArgument(
                f"Expected the model to give probabilities of shape {expected}, got shape {probabilities.shape}, values from "
                f"{outputs.min():.3g} to {outputs.max():.3g}; end it with Dense(classes, activation='softmax')."
            )


def _check_positive(**settings: Any) -> None:
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InvalidArgument(f"Expected `{name}` to be an integer >= 1, got {value!r}.")
