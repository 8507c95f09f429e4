"""The camera folder, step by step, on a clock that the test turns."""

import classify
import pytest
from classify import Problem, Unreadable, watch


class Done(Exception):
    pass


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Watch a folder while things happen in it, one before each look; return what was handed over at which look."""

    def run(*happenings, handle=lambda path: None, patience=3.0):
        look, handed = 0, []

        def sleep(seconds):
            nonlocal look
            assert seconds == 0.5
            if look == len(happenings):
                raise Done
            if happenings[look]:
                happenings[look]()
            look += 1

        monkeypatch.setattr(classify.time, "sleep", sleep)
        monkeypatch.setattr(classify.time, "monotonic", lambda: float(look))

        def give(path):
            handle(path)
            handed.append((look, path.name))

        with pytest.raises(Done):
            watch(tmp_path, give, patience=patience)
        return handed

    return run


def refuse(path):
    if path.read_bytes() != b"whole":
        raise Unreadable(f"{path.name}: broken")


def test_only_what_is_new_and_has_come_to_rest(steps, tmp_path):
    (tmp_path / "old.png").write_bytes(b"whole")
    file = tmp_path / "new.JPG"
    handed = steps(
        lambda: file.write_bytes(b"w"),
        lambda: file.write_bytes(b"wh"),
        lambda: file.write_bytes(b"whole"),
        None,
        None,
        None,
    )
    assert handed == [(4, "new.JPG")]


def test_one_that_stays_broken_is_reported_once_and_tried_again_when_it_changes(steps, tmp_path, capsys):
    file = tmp_path / "new.png"
    write = file.write_bytes
    handed = steps(lambda: write(b"broken"), *[None] * 8, lambda: write(b"whole"), None, None, handle=refuse)
    assert handed == [(11, "new.png")]
    assert capsys.readouterr().err.count("new.png: broken") == 1


def test_one_that_is_finished_in_time_is_not_reported(steps, tmp_path, capsys):
    write = (tmp_path / "new.png").write_bytes
    handed = steps(lambda: write(b"half"), None, None, lambda: write(b"whole"), None, handle=refuse)
    assert handed == [(5, "new.png")]
    assert "broken" not in capsys.readouterr().err


def test_what_is_no_picture_or_goes_again_is_left_alone(steps, tmp_path):
    def drop():
        for name in ("a.txt", ".b.png", "c.png.part", "d.png.occlusion.png", "gone.png"):
            (tmp_path / name).write_bytes(b"whole")
        (tmp_path / "folder.png").mkdir()

    assert steps(drop, (tmp_path / "gone.png").unlink, None, None) == []


def test_a_picture_that_is_deleted_and_comes_again_is_new(steps, tmp_path):
    file = tmp_path / "a.png"
    write = lambda: file.write_bytes(b"whole")  # noqa: E731
    handed = steps(write, None, file.unlink, write, None, None)
    assert handed == [(2, "a.png"), (5, "a.png")]


def test_the_order_is_that_of_the_camera(steps, tmp_path):
    import os

    def drop():
        for when, name in enumerate("cab"):
            (tmp_path / f"{name}.png").write_bytes(b"whole")
            os.utime(tmp_path / f"{name}.png", (when, when))

    assert [name for _, name in steps(drop, None)] == ["c.png", "a.png", "b.png"]


def test_a_folder_that_goes_ends_it(steps, tmp_path):
    with pytest.raises(Problem, match="expected a folder of pictures"):
        steps(tmp_path.rmdir, None)
