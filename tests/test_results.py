"""results.json: one seed's block, seeds merged, and what a file must hold."""

import json
import math
from pathlib import Path

import pytest

from peerlearn import results
from peerlearn.errors import InputError
from peerlearn.results import merge, one_seed, summary


def test_summary_is_the_sample_standard_deviation():
    assert summary([1, 2, 3, 4]) == {
        "mean": 2.5,
        "std": pytest.approx(math.sqrt(5 / 3)),
        "values": [1.0, 2.0, 3.0, 4.0],
    }
    assert summary([0.7]) == {"mean": 0.7, "std": 0.0, "values": [0.7]}
    assert summary([0.1] * 3) == {"mean": 0.1, "std": 0.0, "values": [0.1] * 3}
    with pytest.raises(InputError, match="no values"):
        summary([])


def arm(accuracy, nll, peers="ab", **more):
    metrics = {"accuracy": summary(accuracy), "nll": summary(nll)}
    return {
        "peers": dict.fromkeys(peers, metrics),
        "mean_peer": metrics,
        "ensemble": metrics,
        "cost": {"train_s": summary([1.0] * len(nll))},
        **more,
    }


def seed_block(accuracy, share, flat):
    return arm(
        [accuracy],
        [1 - accuracy],
        between_peers={"agreement": {"a~b": summary([accuracy])}, "error_correlation": {}},
        reliability={
            "a": {
                "confidence": [0.2, 0.6 + accuracy / 10, None],
                "accuracy": [0.0, accuracy, None],
                "fraction": [1 - share, share, 0.0],
            }
        },
        flatness={"sigma": [0.0, 0.1], "peers": {"a": {"mean": [flat, 2.0], "std": [0.0, flat]}}},
        edges=[{"from": "a", "to": "b"}],
    )


def test_merged_arm_joins_seeds_in_order():
    merged = merge([seed_block(0.9, 0.5, 3.0), seed_block(0.7, 0.5, 4.0)])
    assert merged["peers"]["b"]["accuracy"] == summary([0.9, 0.7])
    assert merged["ensemble"]["nll"]["values"] == pytest.approx([0.1, 0.3])
    assert merged["cost"]["train_s"] == summary([1.0, 1.0])
    assert merged["between_peers"]["agreement"]["a~b"] == summary([0.9, 0.7])
    assert merged["edges"] == [{"from": "a", "to": "b"}]
    assert merge([{"peers": {"a": {"accuracy": 0.5}}}, {"peers": {"a": {"accuracy": 0.7}}}]) == {
        "peers": {"a": {"accuracy": summary([0.5, 0.7])}}
    }


def test_merged_reliability_weighs_bins_by_their_rows():
    merged = merge([seed_block(0.9, 0.2, 3.0), seed_block(0.7, 0.6, 4.0)])
    assert merged["reliability"]["a"] == {
        "confidence": [pytest.approx(0.2), pytest.approx((0.2 * 0.69 + 0.6 * 0.67) / 0.8), None],
        "accuracy": [0.0, pytest.approx((0.2 * 0.9 + 0.6 * 0.7) / 0.8), None],
        "fraction": pytest.approx([0.6, 0.4, 0.0]),
    }


def test_merged_flatness_averages_means_and_variances_over_seeds():
    merged = merge([seed_block(0.9, 0.2, 3.0), seed_block(0.7, 0.6, 4.0)])
    assert merged["flatness"] == {
        "sigma": [0.0, 0.1],
        "peers": {"a": {"mean": [3.5, 2.0], "std": [0.0, pytest.approx(math.sqrt(12.5))]}},
    }


def test_a_class_that_one_seed_has_no_pixel_of_is_left_out():
    whole, part = arm([0.9], [0.1]), arm([0.8], [0.2])
    for block, names in ((whole, ("road", "boat")), (part, ("road",))):
        block["ensemble"] = dict(block["ensemble"]) | {f"iou:{n}": summary([0.5]) for n in names}
    for runs in ([whole, part], [part, whole]):
        merged = merge(runs)["ensemble"]
        assert merged["iou:road"]["values"] == [0.5, 0.5]
        assert "iou:boat" not in merged


def test_sizes_and_class_weights_are_joined_over_seeds():
    sizes = {"a": {"parameters": summary([7850]), "latency_ms": summary([0.5])}}
    weights = {"a": {"road": summary([1.5])}}
    merged = merge([arm([v], [v], sizes=sizes, class_weights=weights) for v in (0.1, 0.2)])
    assert merged["sizes"]["a"]["parameters"] == summary([7850, 7850])
    assert merged["class_weights"]["a"]["road"]["values"] == [1.5, 1.5]


def test_a_seed_of_an_earlier_version_has_no_sizes():
    sizes = {"a": {"parameters": summary([7850])}}
    runs = [arm([0.9], [0.1]), arm([0.8], [0.2], sizes=sizes)]
    for order in (runs, runs[::-1]):
        assert "sizes" not in merge(order)


def test_merging_seeds_that_do_not_match_says_which_lacks_what():
    whole, part = seed_block(0.9, 0.2, 3.0), seed_block(0.7, 0.6, 4.0)
    del part["peers"]["b"]
    for runs in ([whole, part], [part, whole]):
        with pytest.raises(InputError, match=r"run \d of 2 has no 'b' in peers"):
            merge(runs)
    with pytest.raises(InputError, match="no run"):
        merge([])
    other = seed_block(0.9, 0.2, 3.0)
    other["flatness"]["sigma"] = [0.0, 0.2]
    with pytest.raises(InputError, match=r"flatness\.sigma differs"):
        merge([whole, other])


BLOCK = {
    "peers": {"a": {"accuracy": 0.5}},
    "mean_peer": {"accuracy": 0.5},
    "ensemble": {"accuracy": float("nan")},
    "reliability": {"a": {"confidence": [None], "accuracy": [None], "fraction": [0.0]}},
    "edges": [{"from": "a", "to": "a"}],
    "cost": {"train_s": 1.5},
    "sizes": {"a": {"parameters": 3}},
}


def test_a_block_of_one_seed_has_every_metric_as_a_summary():
    arm = one_seed(BLOCK)
    assert list(arm) == list(BLOCK)
    assert arm["peers"]["a"]["accuracy"] == {"mean": 0.5, "std": 0.0, "values": [0.5]}
    assert arm["sizes"]["a"]["parameters"]["values"] == [3]
    assert arm["edges"] == BLOCK["edges"]
    assert BLOCK["cost"] == {"train_s": 1.5}, "the block itself is left alone"


def test_a_file_comes_back_as_it_was_saved_with_null_for_what_is_not_finite(tmp_path: Path):
    found = results.of_one_seed("dml", "digits", 3, "mutual", BLOCK, run="runs/x")
    results.save(tmp_path / "results.json", found)
    back = results.load(tmp_path / "results.json")
    assert list(back) == ["schema", "recipe", "run", "data", "seeds", "arms", "differences"]
    assert back["arms"]["mutual"]["ensemble"]["accuracy"]["mean"] is None
    assert back["arms"]["mutual"]["cost"] == found["arms"]["mutual"]["cost"]


def compared(**changes):
    """A file with one difference."""
    entry = {"arm": "m", "against": "x", "who": "a", "metric": "nll", "mean": 0.0} | changes
    return {"arms": {"m": {}}, "differences": [entry]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "the file must be a JSON object, found list"),
        ({"arms": {}}, "arms is empty"),
        ({"arms": {"m": {"peers": {"a": 1}}}}, r"arms\.m\.peers\.a must be a JSON object, found i"),
        ({"arms": {"m": {"cost": 1}}}, r"arms\.m\.cost must be a JSON object, found int"),
        ({"arms": {"m": {"edges": [{"from": "a"}]}}}, r"arms\.m\.edges\[0\]\.to: missing"),
        ({"arms": {"m": {}}, "seeds": ["0"]}, r"seeds\[0\] must be a whole number, found '0'"),
        ({"arms": {"m": {}}, "differences": [{"arm": "m"}]}, r"differences\[0\]\.against: missing"),
        (compared(p=1.5), r"differences\[0\]\.p must be from 0 to 1, found 1\.5"),
        (compared(p="0"), r"differences\[0\]\.p must be a number or null, found '0'"),
        (compared(rows=1.5), r"differences\[0\]\.rows must be a whole number, found 1\.5"),
        (compared(covers=1), r"differences\[0\]\.covers must be a text, found 1"),
    ],
)
def test_a_file_without_what_readers_need_is_named_with_the_field(tmp_path, given, said):
    (tmp_path / "results.json").write_text(json.dumps(given))
    with pytest.raises(InputError, match=rf"results\.json: {said}"):
        results.load(tmp_path / "results.json")


def test_a_difference_of_an_arm_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path):
    entry = {"arm": "mutal", "against": "x", "who": "a", "metric": "nll", "mean": 0.0}
    with pytest.raises(InputError, match=r"differences\[0\]\.arm: unknown arm 'mutal'.*'mutual'"):
        results.check({"arms": {"mutual": {}}, "differences": [entry]}, tmp_path / "r.json")
