"""A folder of pictures, one sub-folder for each class: search, save, load, look at the page.

The pictures are made here from scikit-learn's digits, so that the example runs anywhere; put your own folder in their place.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from kerasnas import ImageClassifier, datasets
from kerasnas.report import write_report

folder = Path("pictures")
digits = load_digits(n_class=3)
for i, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
    file = folder / ("zero", "one", "two")[digit] / f"{i:04d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255 / 16).astype(np.uint8)).save(file)

data = datasets.load(folder)
classifier = ImageClassifier(max_trials=2, directory="searches", project_name="pictures", seed=0)
classifier.fit(data.x_train, data.y_train, epochs=6)
print(classifier.classification_report(data.x_test, data.y_test))

classifier.save("pictures-classifier")
again = ImageClassifier.load("pictures-classifier")
print(again.predict(data.x_test[:5]), data.y_test[:5])
print("open", write_report("searches/pictures"))
