import pytest

from utils import outcomes


def ended(text, seconds=1.0):
    """A letter for each run: a dot is done, others failed with that letter."""
    return [
        outcomes.Ended(None, "done" if c == "." else "failed", "" if c == "." else c, seconds)
        for c in text
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("a" * 7, ""),
        ("a" * 8, "a"),
        ("ab" * 20, ""),  # each for its own reason
        ("abcdefgh" * 3, ""),
        ("." + "a" * 7, ""),
        ("." + "a" * 8, "a"),
        ("." * 8 + "a" * 8, ""),  # a bad value of a grid that turns slowly
        ("." * 8 + "a" * 12, ""),
        ("." * 50 + "a" * 50, ""),
        ("." * 50 + "a" * 90, "a"),  # the disk is full now
        ("a" * 24 + "b." + "a" * 24, "a"),
        (".aaaa" * 20, ""),
        ("a" * 20 + ".", ""),  # a good end is no reason
        ("." * 100_000 + "a" * 200, ""),
        ("." * 100_000 + "a" * 300, "a"),
    ],
)
def test_when_nearly_all_fail_alike_the_rest_is_hopeless(text, reason):
    assert outcomes.hopeless(ended(text), []) == reason


def test_slow_failures_are_no_reason_to_stop():
    assert outcomes.hopeless(ended("a" * 40, seconds=31.0), []) == ""
    mixed = ended("a" * 20, seconds=31.0) + ended("a" * 7)
    assert outcomes.hopeless(mixed, []) == ""


def test_runs_that_outlive_the_failures_speak_against_them():
    failed = ended("a" * 8)
    assert outcomes.hopeless(failed, [0.5] * 24) == "a"  # as young as those
    assert outcomes.hopeless(failed, [1.5]) == ""
    assert outcomes.hopeless(ended("a" * 9), [1.5]) == "a"
    assert outcomes.hopeless(ended("a" * 100), [600.0] * 16) == ""


def test_only_what_failed_or_was_lost_counts():
    stopped = [outcomes.Ended(None, "cancelled", "a", 1.0)] * 20
    assert outcomes.hopeless(stopped, []) == ""
    lost = [outcomes.Ended(None, "lost", "a", 1.0)] * 20
    assert outcomes.hopeless(lost, []) == "a"
