"""Numbers as they are written on the page."""

import pytest

from kerasnas.report.quantities import compact, cost, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"), (True, "True"), (1234567, "1,234,567"), (0.5, "0.5"), (0.123456, "0.1235"),
        (0.00123, "0.00123"), (12.345678, "12.3457"),
        (0.0001234567, "0.0001235"),
        (1e-05, "1e-05"), (0.0, "0"), (100.0, "100"), (123456.0, "1.235e+05"), ("relu", "relu"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_numbers_as_a_reader_wants_them(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7.0, "7"), (834, "834"), (999, "999"), (999.4, "999"), (999.6, "1k"), (1000, "1k"),
        (1049, "1.05k"), (12_345, "12.3k"), (99_949, "99.9k"), (99_960, "100k"), (999_499, "999k"), (999_500, "1M"),
        (4_560_000, "4.56M"), (-2500, "-2.5k"),
        (7.2e9, "7.2G"), (3e15, "3000T"), (0.5, "0.5"), (float("inf"), "inf"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_large_numbers_are_written_short(value, text):
    assert compact(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("parameters", 1234567.0, "1,234,567"), ("parameters", 12.5, "12.5"), ("macs", 1234567.0, "1.23M"),
        ("activation_bytes", 768.0, "768 B"), ("activation_bytes", 2000.0, "2 kB"), ("activation_bytes", 1.5e6, "1.5 MB"),
        ("latency_ms", 0.03544, "0.0354"), ("latency_ms", 12.3456, "12.346"), ("macs", None, "n/a"),
    ],
)  # fmt: skip
def test_a_cost_has_its_unit(name, value, text):
    assert cost(name, value) == text
