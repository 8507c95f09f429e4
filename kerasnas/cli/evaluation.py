"""How well a classifier does on the test pictures."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from kerasnas.datasets import Dataset
from kerasnas.estimators import ImageClassifier
from kerasnas.image_data import to_codes

__all__ = ["evaluate"]


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
