"""A file is written whole or not at all."""

import json

import pytest

from kerasnas.atomic import atomic_path, write_json, write_text


def _fail_half_way(target, error):
    with atomic_path(target) as draft:
        draft.write_text("half")
        raise error


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path):
    target = tmp_path / "model.keras"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(target, RuntimeError("half way"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _fail_half_way(tmp_path / "a.txt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_it_replaces_only_at_the_end(tmp_path):
    target = tmp_path / "deep" / "er" / "model.keras"
    write_text(target, "old")
    with atomic_path(target) as draft:
        assert draft.suffix == ".keras"
        draft.write_text("new")
        assert target.read_text() == "old"
        assert not list(target.parent.glob("*.keras/*"))  # the draft is out of the way of globs
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    assert target.read_text() == "old"


def test_what_cannot_be_json_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"β": [1, None]})
    assert json.loads(target.read_text(encoding="utf-8")) == {"β": [1, None]}
    with pytest.raises(TypeError):
        write_json(target, object())
    assert json.loads(target.read_text(encoding="utf-8")) == {"β": [1, None]}
    assert list(tmp_path.iterdir()) == [target]
