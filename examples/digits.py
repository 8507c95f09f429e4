"""Handwritten digits in ten lines: search, test, explain, export."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerasnas import ImageClassifier

digits = load_digits()
x, x_test, y, y_test = train_test_split(digits.images, digits.target, test_size=0.2, random_state=0)
classifier = ImageClassifier(max_trials=4, project_name="digits", seed=0)
classifier.fit(x, y, epochs=8)
print(f"accuracy on held-out digits: {classifier.score(x_test, y_test):.3f}")
classifier.explain(x_test[:6], method="occlusion").save("digits-occlusion.png")
print(classifier.export("digits.onnx").verification)
