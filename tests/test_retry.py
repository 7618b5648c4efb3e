"""Retry: how often, and how long in between."""

from __future__ import annotations

import math
import pickle
import random
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugbus.retry import Retry

retries = st.builds(
    Retry,
    attempts=st.integers(1, 30),
    delay_seconds=st.floats(0, 100),
    factor=st.floats(1, 10),
    max_delay_seconds=st.floats(0, 1000),
    jitter=st.just(False),
)


@given(retry=retries)
def test_there_is_one_delay_less_than_attempts(retry: Retry) -> None:
    """The first attempt waits for nothing."""
    assert len(list(retry.delays())) == (retry.attempts or 0) - 1


@given(retry=retries)
def test_delays_grow_by_the_factor_up_to_the_limit(retry: Retry) -> None:
    """Each is the factor times the one before, or the limit."""
    delays = list(retry.delays())

    assert delays[:1] in ([], [min(retry.delay_seconds, retry.max_delay_seconds)])
    for before, after in pairwise(delays):
        assert after == min(before * retry.factor, retry.max_delay_seconds)


@given(retry=retries, seed=st.integers())
def test_jitter_is_between_zero_and_the_full_delay(retry: Retry, seed: int) -> None:
    """Full jitter: anything up to what would have been waited without it."""
    with_jitter = Retry(retry.attempts, retry.delay_seconds, retry.factor, retry.max_delay_seconds, jitter=True)

    pairs = zip(with_jitter.delays(random.Random(seed)), retry.delays(), strict=True)

    assert all(0 <= jittered <= full for jittered, full in pairs)


def test_same_seed_gives_the_same_delays() -> None:
    """A test can foresee them."""
    retry = Retry(attempts=20)

    assert list(retry.delays(random.Random(1))) == list(retry.delays(random.Random(1)))


def test_without_a_seed_delays_differ() -> None:
    """Those who failed together do not come back together."""
    retry = Retry(attempts=20)

    assert list(retry.delays()) != list(retry.delays())


def test_no_limit_of_attempts_goes_on_for_ever() -> None:
    """Nor do a thousand doublings overflow."""
    delays = islice(Retry(attempts=None, jitter=False, max_delay_seconds=8).delays(), 5000)

    assert list(delays)[-1] == 8


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"attempts": 0}, "attempts=0"),
        ({"attempts": math.nan}, "attempts=nan"),
        ({"delay_seconds": -1}, "delay_seconds=-1"),
        ({"delay_seconds": math.nan}, "delay_seconds=nan"),
        ({"max_delay_seconds": math.inf}, "max_delay_seconds=inf"),
        ({"factor": 0.5}, "factor=0.5"),
    ],
)
def test_nonsense_is_refused_when_it_is_written(wrong: dict[str, Any], told: str) -> None:
    """The message names the argument and its value."""
    with pytest.raises(ValueError, match=told):
        Retry(**wrong)


def test_retry_is_a_value() -> None:
    """It compares, hashes, pickles and does not change."""
    retry = Retry(attempts=7)

    assert pickle.loads(pickle.dumps(retry)) == retry
    assert hash(retry) == hash(Retry(attempts=7))
    with pytest.raises(AttributeError):
        retry.attempts = 8  # type: ignore[misc]
