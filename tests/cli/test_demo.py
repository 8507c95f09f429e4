"""The demo, README's first command, and what the `kerasnas` script sets."""

import os
from pathlib import Path

import pytest

from kerasnas import cli

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_the_demo_leaves_what_the_readme_says(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--max-trials", "1", "--epochs", "1"]) == 0
    told = README.split("`make demo` prints a table like this and leaves ")[1].partition("\n\n")
    for name in ("model.keras", "model.onnx", "model-pruned.onnx", "model.json", "verification.json", "report.html"):
        assert f"`{name}" in told[0]
        assert (tmp_path / "demo" / name).stat().st_size > 0
    assert any((tmp_path / "demo" / "explanations").glob("*.png"))
    printed = capsys.readouterr().out
    columns = told[2].splitlines()[0].strip("| ").split(" | ")
    assert [word for column in columns for word in column.split() if word not in printed] == []  # a title may take two lines
    assert "model.onnx" in printed
    assert "model-pruned.onnx" in printed


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_the_script_turns_onednn_on_unless_told_otherwise(monkeypatch, before, after):
    monkeypatch.setattr(cli, "main", lambda: int(os.environ["TF_ENABLE_ONEDNN_OPTS"] != after))
    if before is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    else:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", before)
    with pytest.raises(SystemExit) as left:
        cli.run()
    assert left.value.code == 0
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
