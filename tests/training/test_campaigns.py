"""Ranks within annotation campaigns, against a loop."""

import numpy as np
import pytest

from training.campaigns import campaign_only_scores, within_campaign
from training.experiments.evaluate import metrics_of
from training.metrics import expected_metrics_with_random_ties, ranks

CAMPAIGNS = np.array(["2013", "2014", "2013", "2014", "2014", "2015"])


def test_only_the_own_campaign_is_ranked() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 6))
    found = ranks(within_campaign(scores, CAMPAIGNS))
    for query, campaign in enumerate(CAMPAIGNS):
        rank = sum(
            scores[query, item] >= scores[query, query]
            for item in range(6)
            if CAMPAIGNS[item] == campaign
        )
        assert found[query] == rank
    assert found[5] == 1


def test_knowing_the_campaign_ranks_at_random_within_it() -> None:
    found = expected_metrics_with_random_ties(campaign_only_scores(CAMPAIGNS))
    assert found["ar"] == pytest.approx((2 * 1.5 + 3 * 2 + 1) / 6)
    assert found["mrr"] == pytest.approx((2 * 0.75 + 3 * (1 + 1 / 2 + 1 / 3) / 3 + 1) / 6)


def test_one_campaign_is_not_ranked_apart() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 6))
    one = metrics_of({"correct": {"m2e": scores}}, np.full(6, ""))
    several = metrics_of({"correct": {"m2e": scores}}, CAMPAIGNS)
    assert set(one) == {"correct"}
    assert set(several) == {"correct", "within_campaign"}
    assert several["within_campaign"]["m2e"]["ar"] < several["correct"]["m2e"]["ar"]
