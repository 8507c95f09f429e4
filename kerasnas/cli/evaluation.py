"""How well a classifier or an ONNX file does on the test pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from kerasnas.datasets import Dataset
from kerasnas.estimators import ImageClassifier
from kerasnas.image_data import to_codes, to_images

__all__ = ["accuracy_of_file", "evaluate"]


def evaluate(classifier: ImageClassifier, data: Dataset) -> dict[str, Any]:
    """Return accuracy, loss, confusion matrix and the figures of each class on the test pictures, as plain values."""
    codes = to_codes(data.y_test, classifier.classes_)
    predicted = classifier.predict_proba(data.x_test).argmax(axis=1)
    labels = np.arange(len(classifier.classes_))
    precision, recall, f1, support = precision_recall_fscore_support(codes, predicted, labels=labels, zero_division=0)
    return {
        **classifier.evaluate(data.x_test, data.y_test),
        "samples": len(codes),
        "majority_accuracy": float(np.bincount(codes).max() / len(codes)),
        "confusion": confusion_matrix(codes, predicted, labels=labels).tolist(),
        "classes": [
            {"label": str(name), "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(classifier.classes_, precision, recall, f1, support, strict=True)
        ],
    }


def accuracy_of_file(path: Path, classifier: ImageClassifier, data: Dataset) -> float:
    """Return the accuracy of the ONNX file itself on the test pictures, run by onnxruntime on raw pixels."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = to_images(data.x_test).astype("float32")
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: pixels[i : i + 256]})[0] for i in range(0, len(pixels), 256)]
    scores = np.concatenate(outputs)
    predicted = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0.5).astype(int)
    return float(np.mean(predicted == to_codes(data.y_test, classifier.classes_)))
