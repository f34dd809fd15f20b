"""The losses of a transfer graph: who learns what from whom, and where gradients go."""

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from peerlearn.errors import InputError
from peerlearn.transfer import PeerOutput, TransferGraph
from peerlearn.transfer.divergences import LOGIT_DISTANCES, jensen_shannon, kl

DIVERGENCES = ["kl", "reverse_kl", "symmetric_kl", "js", "mse", "cosine"]


def names(count):
    return ["a", "b", "c", "d", "e"][:count]


def make_outputs(count, *shape, seed=0, scale=1.0, dtype=torch.float32, grad=True):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: PeerOutput(
            (torch.randn(*shape, generator=generator) * scale).to(dtype).requires_grad_(grad)
        )
        for name in names(count)
    }


def graph_losses(outputs, transfer, form="softmax", **arguments):
    return TransferGraph(transfer, list(outputs), form=form).losses(outputs, **arguments)


def gradients(outputs, transfer, **arguments):
    """∂ losses[i] / ∂ logits[j] by (i, j); None where nothing flows."""
    losses = graph_losses(outputs, transfer, **arguments)
    logits = [output.logits for output in outputs.values()]
    return {
        (i, j): gradient
        for i in outputs
        for j, gradient in zip(
            outputs,
            torch.autograd.grad(losses[i], logits, retain_graph=True, allow_unused=True),
            strict=True,
        )
    }


def categorical_kl(teacher, learner):
    return kl_divergence(
        Categorical(logits=teacher.logits.detach()), Categorical(logits=learner.logits.detach())
    ).mean()


# ---- who learns what -----------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_peer_learns_the_mean_kl_from_the_others(count):
    outputs = make_outputs(count, 6, 5)
    losses = graph_losses(outputs, "predictions: kl")
    for learner in outputs:
        expected = [categorical_kl(outputs[t], outputs[learner]) for t in outputs if t != learner]
        torch.testing.assert_close(losses[learner].detach(), torch.stack(expected).mean())


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_sum_is_the_mean_times_the_number_of_teachers(count, divergence):
    outputs = make_outputs(count, 6, 5)
    mean = graph_losses(outputs, {"divergence": divergence})
    total = graph_losses(outputs, {"divergence": divergence, "target": "sum"})
    for name in outputs:
        torch.testing.assert_close(total[name], (count - 1) * mean[name])


def test_with_two_peers_mean_sum_and_ensemble_are_one_loss():
    outputs = make_outputs(2, 6, 5)
    mean, total, ensemble = (
        graph_losses(outputs, {"target": target}) for target in ("mean", "sum", "ensemble")
    )
    torch.testing.assert_close(mean, total)
    torch.testing.assert_close(mean, ensemble)


@pytest.mark.parametrize("count", [3, 4])
def test_ensemble_target_is_the_mean_of_probabilities_not_of_logits(count):
    outputs = make_outputs(count, 6, 5, scale=3.0)
    losses = graph_losses(outputs, {"target": "ensemble"})
    for learner in outputs:
        others = [outputs[t].logits.detach().softmax(-1) for t in outputs if t != learner]
        expected = kl_divergence(
            Categorical(probs=torch.stack(others).mean(0)),
            Categorical(logits=outputs[learner].logits.detach()),
        ).mean()
        torch.testing.assert_close(losses[learner].detach(), expected)


@pytest.mark.parametrize("divergence", LOGIT_DISTANCES)
def test_ensemble_of_a_distance_on_logits_is_the_mean_of_logits(divergence):
    outputs = make_outputs(3, 6, 5)
    loss = graph_losses(outputs, {"target": "ensemble", "divergence": divergence})["a"]
    mean = (outputs["b"].logits + outputs["c"].logits) / 2
    expected = LOGIT_DISTANCES[divergence](mean, outputs["a"].logits).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("count", [3, 4])
def test_dml_and_dml_e_have_the_same_gradient(count):
    outputs = make_outputs(count, 6, 5, scale=3.0)
    dml = gradients(outputs, {"target": "mean"})
    dml_e = gradients(outputs, {"target": "ensemble"})
    for name in outputs:
        assert (dml[name, name] - dml_e[name, name]).abs().max() < 1e-6
        assert dml[name, name].abs().max() > 1e-3


def test_dml_exceeds_dml_e_by_the_disagreement_of_the_teachers():
    outputs = make_outputs(3, 6, 5)
    dml = graph_losses(outputs, {"target": "mean"})["a"]
    dml_e = graph_losses(outputs, {"target": "ensemble"})["a"]
    b, c = (outputs[n].logits.log_softmax(-1) for n in "bc")
    torch.testing.assert_close(dml - dml_e, jensen_shannon(b, c).mean())


def test_kl_gradient_is_learner_minus_mean_teacher_over_the_batch():
    outputs = make_outputs(3, 6, 5)
    p = {n: o.logits.detach().softmax(-1) for n, o in outputs.items()}
    found = gradients(outputs, "predictions: kl")["a", "a"]
    torch.testing.assert_close(found, (p["a"] - (p["b"] + p["c"]) / 2) / 6)


def test_an_entry_averages_over_its_teachers_and_entries_add_up():
    outputs = make_outputs(3, 6, 5)
    together = graph_losses(outputs, {"edges": [{"from": ["b", "c"], "to": "a"}]})["a"]
    apart = graph_losses(outputs, {"edges": [{"from": "b", "to": "a"}, {"from": "c", "to": "a"}]})
    from_b = categorical_kl(outputs["b"], outputs["a"])
    from_c = categorical_kl(outputs["c"], outputs["a"])
    torch.testing.assert_close(together.detach(), (from_b + from_c) / 2)
    torch.testing.assert_close(apart["a"].detach(), from_b + from_c)


def test_entries_of_different_kinds_keep_their_own_weight():
    outputs = make_outputs(2, 6, 5)
    mixed = graph_losses(
        outputs,
        {"edges": [{"weight": 0.5}, {"to": "a", "divergence": "mse", "weight": 2.0}]},
    )
    kl_only = graph_losses(outputs, "predictions: kl")
    mse_only = graph_losses(outputs, "predictions: mse")
    torch.testing.assert_close(mixed["a"], 0.5 * kl_only["a"] + 2 * mse_only["a"])
    torch.testing.assert_close(mixed["b"], 0.5 * kl_only["b"])


def test_a_peer_that_nobody_teaches_gets_an_exact_zero():
    outputs = make_outputs(3, 6, 5)
    losses = graph_losses(outputs, {"from": "a", "to": "b"})
    assert losses["a"].item() == 0
    assert losses["c"].item() == 0
    assert losses["b"] > 0
    assert losses["a"].dtype == torch.float32


def test_no_edges_give_zero_for_everybody():
    losses = graph_losses(make_outputs(3, 6, 5), "none")
    assert {name: loss.item() for name, loss in losses.items()} == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize("count", [1, 3])
def test_a_peer_can_learn_from_its_own_sharpened_predictions(count):
    outputs = make_outputs(count, 6, 5)
    found = gradients(outputs, {"from": "self", "teacher_temperature": 0.5})
    for (learner, peer), gradient in found.items():
        if learner != peer:
            assert gradient is None or not gradient.any(), f"{peer} taught {learner}"
            continue
        z = outputs[peer].logits.detach()  # KL is linear in what the teacher says, which stands
        assert torch.allclose(gradient, (z.softmax(1) - (z / 0.5).softmax(1)) / 6, atol=1e-6)


def test_only_the_learners_named_learn_from_themselves():
    losses = graph_losses(
        make_outputs(3, 6, 5), {"from": "self", "to": "b", "teacher_temperature": 0.5}
    )
    assert losses["b"] > 0
    assert (losses["a"].item(), losses["c"].item()) == (0, 0)


def test_only_the_wanted_learners_get_a_loss_and_it_is_the_same_loss():
    outputs = make_outputs(3, 6, 5)
    all_losses = graph_losses(outputs, "predictions: kl")
    some = graph_losses(outputs, "predictions: kl", learners=["b"])
    assert list(some) == ["b"]
    assert torch.equal(some["b"], all_losses["b"])


def test_weight_0_switches_an_edge_off():
    losses = graph_losses(make_outputs(2, 6, 5), {"weight": 0})
    assert losses["a"].item() == 0
    assert not losses["a"].requires_grad


# ---- gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["mean", "sum", "ensemble"])
@pytest.mark.parametrize("divergence", [*DIVERGENCES, "renyi"])
def test_a_detached_edge_gives_its_teacher_no_gradient(divergence, target):
    order = {"alpha": 1.5} if divergence == "renyi" else {}
    found = gradients(make_outputs(3, 6, 5), {"divergence": divergence, "target": target} | order)
    for (learner, peer), gradient in found.items():
        if learner == peer:
            assert gradient.abs().max() > 0
        else:
            assert gradient is None or not gradient.any()


@pytest.mark.parametrize("target", ["mean", "ensemble"])
@pytest.mark.parametrize("divergence", [*DIVERGENCES, "renyi"])
def test_without_detach_the_gradient_reaches_the_teacher(divergence, target):
    order = {"alpha": 1.5} if divergence == "renyi" else {}
    spec = {"divergence": divergence, "target": target, "detach": False} | order
    open_edges = gradients(make_outputs(3, 6, 5), spec)
    closed = gradients(make_outputs(3, 6, 5), spec | {"detach": True})
    for learner, peer in open_edges:
        if learner == peer:
            torch.testing.assert_close(open_edges[learner, peer], closed[learner, peer])
        else:
            assert open_edges[learner, peer].abs().max() > 0


def test_losses_do_not_change_the_outputs_they_read():
    outputs = make_outputs(3, 6, 5, grad=False)
    before = {name: output.logits.clone() for name, output in outputs.items()}
    graph_losses(outputs, {"edges": [{}, {"target": "ensemble"}, {"divergence": "mse"}]})
    for name, output in outputs.items():
        assert torch.equal(output.logits, before[name])


# ---- temperature ---------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "symmetric_kl", "js"])
def test_temperature_softens_both_sides_and_scales_by_its_square(divergence):
    outputs = make_outputs(2, 6, 5)
    hot = graph_losses(outputs, {"divergence": divergence, "temperature": 4.0})
    softened = {n: PeerOutput(o.logits / 4) for n, o in outputs.items()}
    plain = graph_losses(softened, {"divergence": divergence})
    torch.testing.assert_close(hot["a"], 16 * plain["a"])


def test_temperature_keeps_the_size_of_the_gradient():
    small = make_outputs(2, 6, 5, scale=0.01)  # where the loss is quadratic
    cold = gradients(small, {"temperature": 1.0})["a", "a"]
    hot = gradients(small, {"temperature": 8.0})["a", "a"]
    torch.testing.assert_close(hot.norm(), cold.norm(), rtol=0.02, atol=0)


# ---- rows ----------------------------------------------------------------------------------


def test_rows_choose_what_the_mean_runs_over():
    outputs = make_outputs(2, 6, 5)
    labelled = torch.tensor([True, False, True, False, False, False])
    rows = kl(outputs["b"].logits.log_softmax(-1), outputs["a"].logits.log_softmax(-1))
    for choice, expected in {
        "all": rows.mean(),
        "labelled": rows[labelled].mean(),
        "unlabelled": rows[~labelled].mean(),
    }.items():
        losses = graph_losses(outputs, {"rows": choice}, labelled=labelled)
        torch.testing.assert_close(losses["a"], expected)


def test_by_default_unlabelled_rows_teach_too():
    outputs = make_outputs(2, 6, 5)
    nothing = torch.zeros(6, dtype=torch.bool)
    found = gradients(outputs, "predictions: kl", labelled=nothing)["a", "a"]
    assert (found.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("choice", ["labelled", "unlabelled"])
def test_rows_that_are_left_out_get_no_gradient(choice):
    outputs = make_outputs(2, 4, 5)
    labelled = torch.tensor([True, False, False, True])
    found = gradients(outputs, {"rows": choice}, labelled=labelled)["a", "a"]
    inside = labelled if choice == "labelled" else ~labelled
    assert torch.equal(found.abs().sum(-1) > 0, inside)


@pytest.mark.parametrize(("choice", "labelled"), [("labelled", False), ("unlabelled", True)])
def test_a_batch_without_a_single_such_row_gives_0_and_not_nan(choice, labelled):
    outputs = make_outputs(2, 4, 5)
    losses = graph_losses(outputs, {"rows": choice}, labelled=torch.full((4,), labelled))
    assert losses["a"].item() == 0


def test_labelled_rows_are_all_rows_when_nobody_says_otherwise():
    outputs = make_outputs(2, 4, 5)
    torch.testing.assert_close(
        graph_losses(outputs, {"rows": "labelled"}), graph_losses(outputs, {"rows": "all"})
    )


def test_unlabelled_rows_need_to_be_known():
    with pytest.raises(InputError, match=r"transfer\.rows"):
        graph_losses(make_outputs(2, 4, 5), {"rows": "unlabelled"})


# ---- shapes and forms ----------------------------------------------------------------------


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_pixels_are_rows(divergence):
    maps = make_outputs(2, 3, 4, 2, 5)  # batch, classes, height, width
    as_rows = {
        n: PeerOutput(o.logits.detach().permute(0, 2, 3, 1).reshape(-1, 4)) for n, o in maps.items()
    }
    masks = torch.randint(0, 4, (3, 2, 5), generator=torch.Generator().manual_seed(0))
    masks[0] = -1
    for spec in ({}, {"rows": "labelled"}, {"rows": "unlabelled"}):
        spec = spec | {"divergence": divergence}
        torch.testing.assert_close(
            graph_losses(maps, spec, targets=masks, labelled=masks != -1)["a"].detach(),
            graph_losses(as_rows, spec, targets=masks.flatten(), labelled=masks.flatten() != -1)[
                "a"
            ],
        )


def test_multi_label_divergence_is_the_sum_of_bernoulli_divergences():
    outputs = make_outputs(2, 6, 5, scale=3.0)
    a, b = (Bernoulli(logits=outputs[n].logits.detach()) for n in "ab")
    losses = graph_losses(outputs, "predictions: kl", form="sigmoid")
    torch.testing.assert_close(losses["a"].detach(), kl_divergence(b, a).sum(-1).mean())
    torch.testing.assert_close(losses["b"].detach(), kl_divergence(a, b).sum(-1).mean())


def test_multi_label_gradient_is_the_difference_of_probabilities():
    outputs = make_outputs(2, 6, 5)
    found = gradients(outputs, "predictions: kl", form="sigmoid")["a", "a"]
    p = {n: o.logits.detach().sigmoid() for n, o in outputs.items()}
    torch.testing.assert_close(found, (p["a"] - p["b"]) / 6)


def test_multi_label_ensemble_averages_the_probability_of_each_label():
    outputs = make_outputs(3, 6, 5)
    p = {n: o.logits.detach().sigmoid() for n, o in outputs.items()}
    expected = kl_divergence(Bernoulli((p["b"] + p["c"]) / 2), Bernoulli(p["a"])).sum(-1).mean()
    found = graph_losses(outputs, {"target": "ensemble"}, form="sigmoid")["a"]
    torch.testing.assert_close(found.detach(), expected)


@pytest.mark.parametrize("divergence", ["kl", "js", "symmetric_kl", "renyi"])
def test_multi_label_stays_finite_for_far_apart_logits(divergence):
    outputs = make_outputs(2, 6, 5, scale=1e4)
    order = {"alpha": 2.0} if divergence == "renyi" else {}
    found = gradients(outputs, {"divergence": divergence} | order, form="sigmoid")
    assert torch.isfinite(found["a", "a"]).all()


def test_a_mask_of_rows_fits_multi_label_outputs():
    outputs = make_outputs(2, 6, 5)
    labelled = torch.tensor([True, True, False, False, False, False])
    found = graph_losses(outputs, {"rows": "labelled"}, form="sigmoid", labelled=labelled)["a"]
    first = {n: PeerOutput(o.logits[:2]) for n, o in outputs.items()}
    torch.testing.assert_close(found, graph_losses(first, {}, form="sigmoid")["a"])


@pytest.mark.parametrize(("a", "b"), [((6, 5), (6, 4)), ((6, 5), (5, 5)), ((2, 5, 4), (2, 5, 3))])
def test_peers_of_different_shape_are_named(a, b):
    outputs = {"left": PeerOutput(torch.randn(a)), "right": PeerOutput(torch.randn(b))}
    with pytest.raises(InputError) as caught:
        graph_losses(outputs, "predictions: kl")
    for words in ("'left'", "'right'", str(a), str(b)):
        assert words in str(caught.value)


def test_peers_of_different_shape_may_live_without_edges_between_them():
    outputs = {
        "a": PeerOutput(torch.randn(6, 5)),
        "b": PeerOutput(torch.randn(6, 5)),
        "c": PeerOutput(torch.randn(6, 4)),
    }
    assert graph_losses(outputs, {"from": "a", "to": "b"})["b"] > 0


# ---- precision and cost --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("divergence", [*DIVERGENCES, "renyi"])
def test_16_bit_logits_give_a_finite_fp32_loss(divergence, dtype):
    order = {"alpha": 2.0} if divergence == "renyi" else {}
    outputs = make_outputs(3, 6, 5, scale=1e3, dtype=dtype)
    losses = graph_losses(outputs, {"divergence": divergence} | order)
    for name in outputs:
        assert losses[name].dtype == torch.float32
        assert torch.isfinite(losses[name])
    found = gradients(make_outputs(3, 6, 5, dtype=dtype), {"divergence": divergence} | order)
    assert found["a", "a"].dtype == dtype
    assert torch.isfinite(found["a", "a"]).all()


def test_autocast_does_not_lower_the_precision_of_the_loss():
    outputs = make_outputs(3, 6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = graph_losses(outputs, {"divergence": "renyi", "alpha": 1.5})
    torch.testing.assert_close(inside, graph_losses(outputs, {"divergence": "renyi", "alpha": 1.5}))


class CountLogSoftmax(TorchDispatchMode):
    """Counts log-softmax kernels."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._log_softmax.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(
    "transfer", [{}, {"target": "ensemble"}, {"edges": [{}, {"divergence": "js", "rows": "all"}]}]
)
def test_k_peers_cost_k_log_softmaxes(count, transfer):
    outputs = make_outputs(count, 6, 5)
    with CountLogSoftmax() as counter:
        graph_losses(outputs, transfer)
    assert counter.count == count
