"""Statistics against values worked by hand or published."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from offmodel import statistics as st


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Newcombe 1998, Stat. Med. 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]
)
def test_wilson_gives_the_published_intervals(successes, n, low, high):
    assert st.wilson(successes, n) == pytest.approx((successes / n, low, high), abs=5e-5)


def test_wilson_ends_are_exact_where_a_floor_is_compared_with_them():
    assert st.wilson(0, 7).low == 0.0
    assert st.wilson(7, 7).high == 1.0


def test_wilson_agrees_with_scipy_at_another_level():
    ours, theirs = st.wilson(8, 10, level=0.9), stats.binomtest(8, 10).proportion_ci(0.9, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_a_mean_of_estimates_weighs_them_alike():
    first, second = st.Estimate(0.5, 0.2, 0.9), st.Estimate(1.0, 0.6, 1.0)
    # Ends: sqrt(0.3² + 0.4²) / 2 below, sqrt(0.4² + 0²) / 2 above.
    assert st.mean_of([first, second]) == pytest.approx((0.75, 0.75 - 0.25, 0.75 + 0.2))
    assert st.mean_of([first]) == pytest.approx(first)
    with pytest.raises(ValueError, match="mean_of needs"):
        st.mean_of([])


@pytest.mark.parametrize(("b", "c", "p"), [(1, 7, 18 / 256), (0, 5, 2 / 32), (3, 3, 1.0), (0, 0, 1.0)])
def test_mcnemar_counts_coin_tosses(b, c, p):
    assert st.mcnemar_exact(b, c) == pytest.approx(p)


def test_sign_flips_counted_by_hand():
    assert st.sign_flip([2, 1]) == pytest.approx(2 / 4)  # sums 3, 1, -1, -3: two as far out as 3
    assert st.sign_flip([2, -1]) == pytest.approx(1.0)  # every sum is as far out as 1
    assert st.sign_flip([0, 0]) == 1.0


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 7), (12, 3), (20, 25)])
def test_sign_flip_of_single_runs_is_mcnemar(b, c):
    assert st.sign_flip([-1] * b + [1] * c + [0] * 9) == pytest.approx(st.mcnemar_exact(b, c))


def test_sign_flip_refuses_fractions():
    with pytest.raises(ValueError, match="integer"):
        st.sign_flip([0.5, 1])


def test_holm_steps_down_and_keeps_the_order_given():
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    with pytest.raises(ValueError):
        st.holm([0.2, math.nan])


def test_pass_at_k_by_hand():
    assert st.pass_at_k(5, 2, 3) == pytest.approx(1 - 1 / 10)
    assert st.pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert st.pass_at_k(8, 0, 4) == 0.0
    assert st.pass_at_k(8, 5, 4) == 1.0
    with pytest.raises(ValueError):
        st.pass_at_k(4, 2, 5)


def test_pass_at_k_is_the_mean_over_all_draws():
    draws = list(itertools.combinations([1, 1, 0, 0, 0, 0], 3))
    assert st.pass_at_k(6, 2, 3) == pytest.approx(np.mean([max(draw) for draw in draws]))


def test_detectable_drop_solves_connors_equation():
    assert st.detectable_drop(200, 0.3) == pytest.approx(0.1079, abs=5e-5)
    drop = st.detectable_drop(120, 0.25, power=0.9)
    assert drop is not None
    right = 1.959964 * math.sqrt(0.25) + 1.281552 * math.sqrt(0.25 - drop**2)
    assert drop * math.sqrt(120) == pytest.approx(right, abs=1e-5)


def test_a_drop_over_several_runs_may_be_larger_than_its_mean_square():
    # every problem changed by a tenth: squared 0.01, absolute 0.1
    assert st.detectable_drop(100, 0.01) is None
    assert st.detectable_drop(100, 0.01, largest=0.1) == pytest.approx(st.detectable_drop(100, 0.01, largest=1))
    assert 0.027 < (st.detectable_drop(100, 0.01, largest=0.1) or 0) < 0.029


def test_detectable_drop_is_undefined_where_even_pure_loss_would_be_missed():
    assert st.detectable_drop(20, 0.05) is None
    assert st.detectable_drop(20, 0.0) is None


def test_difference_is_paired_and_its_interval_has_the_expected_width():
    # 200 problems, 40 lost and 20 won: -10 points, SE = sqrt((0.3 - 0.01) / 200) = 3.81 points
    control = np.array([1] * 40 + [0] * 20 + [1] * 70 + [0] * 70)
    treated = np.array([0] * 40 + [1] * 20 + [1] * 70 + [0] * 70)
    found = st.paired_difference(treated, control, rng())
    assert found.value == pytest.approx(-0.1)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.0381, rel=0.05)
    unpaired = 1.96 * math.sqrt(2 * 0.25 / 200)
    assert (found.high - found.low) / 2 < 0.8 * unpaired


def test_more_runs_of_the_same_problems_are_not_more_problems():
    scores, control = np.tile([1, 0, 1, 0, 0, 1, 1, 1], 5), np.tile([1, 1, 1, 0, 1, 1, 0, 1], 5)
    once = st.paired_difference(scores, control, rng())
    assert st.paired_difference(np.column_stack([scores, scores]), control, rng()) == once
    as_if_new = st.paired_difference(np.tile(scores, 2), np.tile(control, 2), rng())
    assert as_if_new.high - as_if_new.low < 0.8 * (once.high - once.low)


def test_several_runs_are_worth_their_problems_to_their_answers():
    one = np.tile([1, 0, 1, 1], 30)
    assert st.accuracy(one) == st.wilson(90, 120)
    assert st.accuracy(np.column_stack([one, one])) == st.wilson(90, 120)  # the same again says nothing new
    # Shares 1, 1/2, 1/2, 0 and again: p = 1/2 and s² = 4 · (1/4) / 7, so p(1−p)n/s² = (1/4) · 8 · 7 = 14 of 8 to 16.
    halves = [[1, 1], [1, 0], [0, 1], [0, 0]] * 2
    assert st.accuracy(halves) == pytest.approx(st.wilson(7, 14))
    assert st.accuracy([[1, 0], [0, 1], [1, 0], [0, 1], [1, 1]]) == pytest.approx(st.wilson(6, 10))  # 24 / 5 · 5 > 10


def test_one_right_answer_more_does_not_lower_the_upper_end_by_half():
    none = np.zeros((200, 2))
    one = none.copy()
    one[0, 0] = 1
    assert st.accuracy(none) == st.wilson(0, 200)
    assert st.accuracy(one) == pytest.approx(st.wilson(1, 400), rel=0.01) and st.accuracy(one).low > 0


def test_runs_that_all_agree_still_have_a_width():
    assert st.accuracy(np.ones((20, 3))) == st.wilson(20, 20)
    found = st.paired_difference(np.ones(20), np.ones(20), rng())
    assert found.low < 0 == found.value < found.high


def test_small_sample_difference_by_hand():
    # n = 20, one lost: p = 1/22, q = 2/22 -> -0.04545 -/+ 1.95996 * sqrt((3/22 - (1/22)^2) / 22)
    found = st.small_sample_difference([0] + [1] * 19, [1] * 20)
    assert found == pytest.approx((-0.05, -0.19858, 0.10767), abs=2e-5)


def test_recovery_fraction_by_hand():
    untrained, degraded, recovered = [1] * 80 + [0] * 20, [1] * 40 + [0] * 60, [1] * 70 + [0] * 30
    found = st.recovery_fraction(untrained, degraded, recovered, rng())
    assert found.value == pytest.approx(0.75)
    assert found.reason is None
    assert found.low is not None and found.high is not None
    # recovered / lost = 30/40; given 40 lost problems the share has SE sqrt(.75 * .25 / 40) = 0.068
    assert (found.low, found.high) == pytest.approx((0.75 - 1.96 * 0.068, 0.75 + 1.96 * 0.068), abs=0.03)


def test_recovery_of_a_small_drop_is_undefined_with_the_reason():
    untrained, degraded = [1] * 54 + [0] * 46, [1] * 50 + [0] * 50
    found = st.recovery_fraction(untrained, degraded, untrained, rng())
    assert found[:3] == (None, None, None)
    assert found.reason is not None and "4.0 points" in found.reason


def test_recovery_at_exactly_five_points_is_defined():
    untrained, degraded = [1] * 70 + [0] * 30, [1] * 65 + [0] * 35
    assert st.recovery_fraction(untrained, degraded, untrained, rng()).value == pytest.approx(1.0)


def test_recovery_has_no_interval_when_the_drop_may_be_zero():
    untrained = np.array([1] * 10 + [0] * 8 + [1] * 2)
    degraded = np.array([0] * 10 + [1] * 8 + [1] * 2)
    found = st.recovery_fraction(untrained, degraded, untrained, rng())
    assert found.value == pytest.approx(1.0)
    assert found.low is None and found.reason is not None


@pytest.mark.parametrize("changed", [0, 5, 6])
def test_recovery_of_a_handful_of_problems_has_no_interval(changed: int):
    untrained, degraded = [1] * 20 + [0] * 20, [0] * 40
    found = st.recovery_fraction(untrained, degraded, [1] * changed + [0] * (40 - changed), rng())
    assert found.value == changed / 20
    if changed < 6:
        assert found[1:3] == (None, None) and found.reason is not None and "fewer than 6 problems" in found.reason
    else:
        assert found.low is not None and 0 < found.low < 0.3 and found.reason is None


def test_a_handful_of_changes_is_no_difference():
    few = [1] * 5 + [0] * 75  # five won and none lost: p = 0.0625, though hardly a resample is without any of them
    assert st.paired_difference(few, [0] * 80, rng()) == st.small_sample_difference(few, [0] * 80)
    assert st.paired_difference(few, [0] * 80, rng()).low < 0
    more = [1] * 6 + [0] * 74
    assert st.paired_difference(more, [0] * 80, rng()).low > 0 and st.paired_p(more, [0] * 80) < 0.05


def test_two_arms_are_compared_by_the_test_for_as_many_runs():
    # 5 won and none lost: 2 / 2^5; over two runs each the changes are 2 and 1 of 2: |±2 ±1| >= 3 in half of the signs
    assert st.paired_p([1] * 5 + [0] * 5, [0] * 10) == pytest.approx(2 / 32)
    assert st.paired_p([[1, 1], [1, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]]) == pytest.approx(0.5)
    # one run of the control counts for both of the arm: changes of 2 and -1
    assert st.paired_p([[1, 1], [0, 1]], [0, 1]) == pytest.approx(1.0)


def test_pairs_must_match_and_scores_have_no_gaps():
    with pytest.raises(ValueError, match="2 problems and control 3"):
        st.paired_difference([1, 0], [1, 0, 1], rng())
    with pytest.raises(ValueError, match="gaps"):
        st.accuracy([1.0, math.nan])


def test_the_seed_is_used_and_global_state_is_left_alone():
    control, treated = np.tile([1, 0, 1], 20), np.tile([0, 0, 1], 20)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first = st.paired_difference(treated, control, np.random.default_rng(5), resamples=500)
    assert first == st.paired_difference(treated, control, np.random.default_rng(5), resamples=500)
    others = {st.paired_difference(treated, control, np.random.default_rng(i), resamples=500) for i in range(6)}
    assert len(others) > 1
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[arg-type]


def test_a_share_is_no_probability_outside_its_range():
    for shares, runs in [([1.5, 0], 2), ([-0.5, 1], 2), ([1, 0], 0.5)]:
        with pytest.raises(ValueError, match="mean_share needs"):
            st.mean_share(shares, runs)
    assert st.mean_share([0.5] * 4, 2) == st.wilson(2, 4)


def test_a_ratio_of_sums_is_no_mean_of_ratios():
    found = st.ratio_of_sums([10, 0], [10, 30], np.random.default_rng(0))
    assert found == (0.25, 0, 1)  # a problem twice, or the other
    alike = st.ratio_of_sums([2, 6], [1, 3], np.random.default_rng(0))
    assert alike == (2, 2, 2)
    for above, below in [([], []), ([1.0], [0.0]), ([float("nan")], [1.0])]:
        with pytest.raises(ValueError, match="ratio_of_sums needs"):
            st.ratio_of_sums(above, below, np.random.default_rng(0))
