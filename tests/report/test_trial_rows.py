"""What the page says of trials that were stopped, inherited weights or cost something, and of proposals not tried."""

import re

import pytest

ATTACK = "<script>alert(1)</script>"
HANDLER = "<img src=x onerror=alert(2)>"


def curves(*values):
    return [{"val_accuracy": list(values), "loss": [1.0] * len(values)}]


def stopped(rule, reason, **details):
    return {"stopped": {"rule": rule, "reason": reason, "details": details}}


HISTORY = {
    0: {"executions": curves(0.2, 0.3, 0.4, 0.5)},
    1: {"executions": curves(0.3), **stopped("asha", "place 3 of 4 after 1 epochs", rung=1.0)},
    2: {"executions": curves(0.3, 0.6), **stopped("time", "The 5 seconds of the trial are over."), "parameters": 1_500_000},
    3: {"executions": curves(0.7, 0.8, 0.9, 0.7), "inherited": {"trial": "00", "share": 0.875}},
    4: {"executions": curves(0.1), **stopped("asha", "last"), "inherited": {"trial": "03", "share": 0.125}},
}
SCORES = [0.5, 0.3, 0.6, 0.9, 0.1]


@pytest.fixture
def economical(project, tmp_path):
    return project(tmp_path, scores=SCORES, history=HISTORY)


def groups(page_text, prefix):
    """Return tooltip, x and y of each mark whose group is called `prefix-number`."""
    found = re.findall(
        rf'<g id="{prefix}-(\d+)"><title>(.*?)</title>.*?<use [^>]*?x="([\d.]+)" y="([\d.]+)"', page_text, re.DOTALL
    )
    return {int(number): (title, float(x), float(y)) for number, title, x, y in found}


def test_early_stopping_and_inheritance_in_a_sentence_each(economical, page_of):
    words = page_of(economical).words
    # 4 + 1 + 2 + 4 + 1 epochs were trained; 3 and 3 were not. What ran out of time did not save it.
    assert "Early stopping ended 2 of 5 trials and saved 6 of 18 epochs (the longest trial had 4)." in words
    assert "2 of 5 trials took over weights of an earlier one, on average 50 % of all they have." in words


def test_the_table_says_when_and_why_a_trial_stopped_and_whose_weights_it_had(economical, page_of):
    words = page_of(economical).words
    for row in (
        "4 completed 0.9 2 1,237 6 2 values units = 8 learning_rate = 0.00123 began with 88 % of its weights from trial 1 3",
        "3 completed 0.6 2 1,500,000 6 2 values units = 16 learning_rate = 0.00123 "
        "stopped after epoch 2 (time): The 5 seconds of the trial are over. 1 completed 0.5 2 1,234 6",
        "2 completed 0.3 2 1,235 6 2 values units = 8 learning_rate = 0.00123 "
        "stopped after epoch 1 (asha): place 3 of 4 after 1 epochs 5",
        "stopped after epoch 1 (asha): last began with 12 % of its weights from trial 4",
    ):
        assert row in words


def test_a_cross_is_at_the_end_of_each_stopped_curve(economical, page_of):
    page = page_of(economical)
    marks = groups(page.source, "stopped")
    assert {number: title for number, (title, _, _) in marks.items()} == {
        2: "trial 2 stopped after epoch 1 (asha): place 3 of 4 after 1 epochs",
        3: "trial 3 stopped after epoch 2 (time): The 5 seconds of the trial are over.",
        5: "trial 5 stopped after epoch 1 (asha): last",
    }
    (_, x2, y2), (_, x3, y3), (_, x5, y5) = marks[2], marks[3], marks[5]
    assert x2 == x5 < x3  # epochs 1, 1 and 2
    assert y3 < y2 < y5  # 0.6, 0.3 and 0.1, from the top
    assert "Crosses: stopped early" in page.words


def test_executions_count_together_and_a_rule_of_ones_own_may_say_little(project, page_of, tmp_path):
    history = {
        0: {"executions": curves(0.1, 0.2, 0.3) * 2},
        1: {"executions": curves(0.1, 0.2, 0.3) + curves(0.4), "stopped": {"rule": 3}},
        2: {"executions": [], "stopped": {}, "inherited": {"share": "much"}},
    }
    page = page_of(project(tmp_path, scores=[0.3, 0.4, 0.2], history=history))
    assert "Early stopping ended 2 of 3 trials and saved 8 of 18 epochs (the longest trial had 6)." in page.words
    assert "1 of 3 trials took over weights of an earlier one. " in page.words
    assert "stopped after epoch 1 (3)" in page.words
    assert "stopped (no rule named) began with weights from trial None" in page.words
    assert list(groups(page.source, "stopped")) == [2]


def test_a_curve_that_ends_in_no_number_has_its_cross_at_the_last_epoch(project, page_of, tmp_path):
    history = {i: {"executions": curves(0.5, end), **stopped("asha", "late")} for i, end in enumerate([0.5, None])}
    marks = groups(page_of(project(tmp_path, scores=[0.5, 0.5], history=history)).source, "stopped")
    assert marks[1][1:] == marks[2][1:]


COSTS = [
    {"parameters": 1234.0, "macs": 4_560_000.0, "activation_bytes": 2000.0, "latency_ms": 0.0354},
    {"parameters": 1235.0, "macs": 789.0, "activation_bytes": 1.5e6},
    {},
]


def test_costs_are_columns_where_they_are_known(project, page_of, tmp_path):
    words = page_of(project(tmp_path, scores=[0.9, 0.8, 0.7], metrics=COSTS)).words
    assert "best epoch parameters MACs activations latency ms seconds choices 1 completed" in words
    assert "1 completed 0.9 2 1,234 4.56M 2 kB 0.0354 6" in words
    assert "2 completed 0.8 2 1,235 789 1.5 MB n/a 6" in words
    assert "3 completed 0.7 2 1,236 n/a n/a n/a 6" in words
    assert "MACs: multiply-accumulate operations; activations: the most memory" in words


def test_a_cost_that_no_trial_has_is_no_column(project, page_of, tmp_path):
    words = page_of(project(tmp_path, scores=[0.9, 0.8], metrics=[{"macs": 7.0}, {"macs": 8.0}])).words
    assert "parameters MACs seconds choices" in words
    assert "For one sample; MACs: multiply-accumulate operations." in words


def rejected(number, twin=None, reason="too large"):
    return {"values": {"units": number}, "reason": reason, "twin": twin, "after": 0, "number": 0, "phase": None}


@pytest.mark.parametrize(
    ("proposals", "text"),
    [
        ([rejected(8)], "1 proposal was rejected before any training: it would cost too much."),
        ([rejected(8), rejected(9)], "2 proposals were rejected before any training: they would cost too much."),
        (
            [rejected(8, "00")],
            "1 proposal was rejected before any training: it would train the network of an earlier trial again.",
        ),
        (
            [rejected(8), rejected(9, "00"), rejected(10, "01")],
            "3 proposals were rejected before any training: 1 would cost too much, 2 would train the network of an earlier",
        ),
    ],
)
def test_how_many_proposals_were_rejected_and_why(proposals, text, project, page_of, tmp_path):
    words = page_of(project(tmp_path, scores=[0.5, 0.6], rejected=proposals)).words
    assert text in words
    assert "are listed" not in words
    assert ("why twin choices" in words) == any(one["twin"] for one in proposals)


def test_at_most_twenty_rejected_proposals_are_listed(project, page_of, tmp_path):
    proposals = [rejected(100 + i, reason=f"reason {i}") for i in range(1200)]
    proposals[-2:] = [rejected(7, "01", "It trains the same network as trial 01."), rejected(6, "lost")]
    page = page_of(project(tmp_path, scores=[0.5, 0.6], rejected=proposals))
    assert "1,200 proposals were rejected before any training: 1,198 would cost too much, 2 would train" in page.words
    assert "The last 20 are listed." in page.words
    assert re.findall(r"reason (\d+)", page.words) == [str(i) for i in range(1180, 1198)]
    assert (
        "1198 reason 1197 1 values units = 1297 1199 would train the same network again trial 2 1 values units = 7"
        in page.words
    )
    assert "1200 would train the same network again trial lost 1 values units = 6" in page.words


@pytest.mark.parametrize("damage", [{"twin": ["00"]}, {"twin": 3}, {"values": [1]}])
def test_rejected_proposals_that_are_not_whole_are_left_out(damage, project, page_of, tmp_path):
    folder = project(tmp_path, scores=[0.5], rejected=[rejected(8) | damage])
    with pytest.warns(UserWarning, match=r"oracle\.json is not whole"):
        assert "Proposed, but not tried" not in page_of(folder).words


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_is_shown_where_there_is_nothing(plain, project, page_of, tmp_path):
    page = page_of(project(tmp_path, scores=[0.5, 0.7, None], plain=plain, rejected=None if plain else []))
    for text in (
        "Early stopping",
        "stopped",
        "took over",
        "began with",
        "rejected",
        "not tried",
        "MACs",
        "activations",
        "front",
    ):
        assert text not in page.words
    assert "Crosses" not in page.words
    assert "knee" not in page.words
    assert "For one sample" not in page.words
    assert "best epoch parameters seconds choices" in page.words


def test_what_the_files_say_of_it_is_text_only(project, page_of, tmp_path):
    history = {
        0: {"executions": curves(0.4, 0.5), "stopped": {"rule": ATTACK, "reason": HANDLER}},
        1: {"executions": curves(0.4, 0.5), "inherited": {"trial": HANDLER, "share": 0.5}},
    }
    odd = [rejected(1, reason=ATTACK), rejected(2, twin=HANDLER), {"values": {ATTACK: HANDLER}, "reason": "", "twin": None}]
    objectives = {"val_accuracy": "max", ATTACK: "min"}
    metrics = [{ATTACK: 3.0}, {ATTACK: 4.0}]
    page = page_of(project(tmp_path, scores=[0.5, 0.6], history=history, rejected=odd, objectives=objectives, metrics=metrics))
    assert f"trial 1 stopped after epoch 2 ({ATTACK}): {HANDLER}" in page.words
    assert f"began with 50 % of its weights from trial {HANDLER}" in page.words
    assert f"{ATTACK} 1 values units = 1" in page.words
    assert f"trial {HANDLER} 1 values" in page.words
    assert f"{ATTACK} = {HANDLER}" in page.words
    assert f"trial 1: val_accuracy 0.5, {ATTACK} 3" in page.words
    assert not [attributes for tag, attributes in page.tags if tag == "img"]
