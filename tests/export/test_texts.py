"""A table of texts is in the file; what ONNX has no operator for is not."""

import keras
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.export import benchmark, certify, to_litert, to_onnx, verify

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


def lookup_model(vocabulary, **settings):
    inputs = keras.Input((2,), dtype="string", name="words")
    return keras.Model(inputs, layers.StringLookup(vocabulary=vocabulary, name="lookup", **settings)(inputs))


@settings(max_examples=12)
@given(st.lists(WORDS.filter(lambda word: word != "[UNK]"), min_size=1, max_size=6, unique=True), st.lists(WORDS, min_size=2))
def test_each_word_has_its_place_and_all_others_the_first(tmp_path_factory, vocabulary, others):
    file = to_onnx(lookup_model(vocabulary), tmp_path_factory.mktemp("texts") / "m.onnx")
    asked = np.asarray([[word, other] for word in vocabulary for other in others], dtype=object)
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    places = {word: place for place, word in enumerate(vocabulary, 1)}
    expected = [[places.get(word, 0) for word in row] for row in asked]
    np.testing.assert_array_equal(session.run(None, {"words": asked})[0], expected)


def test_the_random_samples_hold_known_and_unknown_words(tmp_path):
    model = lookup_model(["a", "b"])
    file = to_onnx(lookup_model(["b", "a"]), tmp_path / "m.onnx")
    assert not verify(model, file).passed  # another order of the same words is found
    assert not verify(lookup_model(["a", "b"], num_oov_indices=0), to_onnx(model, tmp_path / "n.onnx")).passed
    assert verify(model, tmp_path / "n.onnx").passed


def test_a_file_of_texts_is_measured_and_certified(tmp_path):
    model = lookup_model(["a", "b"])
    file = to_onnx(model, tmp_path / "m.onnx", x=np.asarray([["a", "zzz"]]))
    certificate = certify(file, model=model, x=np.asarray([["b", "a"]]))
    assert certificate.inputs == ({"name": "words", "shape": [None, 2], "dtype": "string"},)
    assert certificate.check(file).passed
    assert benchmark(file, repeats=2).repeats == 2


def test_numbers_are_no_texts_and_other_formats_hold_none(tmp_path):
    model = lookup_model(["a"])
    with pytest.raises(InvalidArgument, match="Expected texts for input 'words'"):
        to_onnx(model, tmp_path / "m.onnx", x=np.zeros((1, 2)))
    with pytest.raises(InvalidArgument, match="holds texts, which go to the layer 'lookup'"):
        to_litert(model, tmp_path / "m.tflite")


@pytest.mark.parametrize("setting", [{"num_oov_indices": 2}, {"mask_token": ""}, {"invert": True}])
def test_other_tables_are_refused(setting, tmp_path):
    inputs = keras.Input((2,), dtype="int64" if "invert" in setting else "string", name="words")
    model = keras.Model(inputs, layers.StringLookup(vocabulary=["a"], name="lookup", **setting)(inputs))
    with pytest.raises(KerasNASError, match="lookup"):
        to_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
