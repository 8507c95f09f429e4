"""Search on the JAX backend, then explain, prune and export the winner under TensorFlow.

It needs JAX (pip install '.[jax]'). A Keras backend is chosen once for a process, so the second half runs in one of its own; a
`.keras` file carries the model over.
"""

import os
import subprocess
import sys

if __name__ == "__main__" and "finish" not in sys.argv:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    from kerasnas import ImageClassifier, datasets

    data = datasets.load("digits")
    classifier = ImageClassifier(max_trials=2, directory="searches", project_name="jax-digits", seed=21)
    classifier.fit(data.x_train, data.y_train, epochs=6)
    print(f"searched on {keras.backend.backend()}")
    print(f"accuracy under JAX: {classifier.score(data.x_test, data.y_test):.4f}")
    classifier.save("jax-digits")
    subprocess.run([sys.executable, __file__, "finish"], env={**os.environ, "KERAS_BACKEND": "tensorflow"}, check=True)

elif __name__ == "__main__":
    from kerasnas import ImageClassifier, datasets

    data = datasets.load("digits")
    classifier = ImageClassifier.load("jax-digits")
    print(f"accuracy under TensorFlow: {classifier.score(data.x_test, data.y_test):.4f}")
    classifier.explain(data.x_test[:6]).save("jax-digits-maps.png")
    pruned = classifier.compress(data.x_train, data.y_train, sparsity=0.5, epochs=4, seed=0)
    for name, model in (("jax-digits.onnx", classifier), ("jax-digits-pruned.onnx", pruned)):
        print(name, model.export(name, x=data.x_test[:64]).verification)
