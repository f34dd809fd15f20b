"""The configuration of a transfer graph: short forms, entries with defaults, errors."""

import pytest

from peerlearn.errors import InputError
from peerlearn.transfer import TransferGraph, TransferSpec
from peerlearn.transfer.spec import FIELDS_OF, EdgeFields
from peerlearn.validation import validated

PEERS = ["net_a", "net_b", "net_c"]


def spec(given):
    return validated(TransferSpec, given, "transfer")


def edges(given, peers=PEERS):
    return {(edge["from"], edge["to"]) for edge in TransferGraph(given, peers).edges()}


def refused(given, peers=PEERS):
    with pytest.raises(InputError) as caught:
        TransferGraph(given, peers)
    return str(caught.value)


EVERY_PAIR = {(a, b) for a in PEERS for b in PEERS if a != b}


@pytest.mark.parametrize(
    "given",
    ["predictions: kl", {"predictions": "kl"}, {}, {"edges": "all"}, {"edges": [{}]}, "{}"],
)
def test_short_forms_connect_every_ordered_pair_through_kl(given):
    assert edges(given) == EVERY_PAIR
    (entry,) = spec(given).entries()
    assert (entry.knowledge, entry.divergence) == ("predictions", "kl")
    assert (entry.weight, entry.temperature, entry.target) == (1.0, 1.0, "mean")
    assert entry.detach
    assert spec(given).update == "simultaneous"


@pytest.mark.parametrize("divergence", ["reverse_kl", "symmetric_kl", "js", "mse", "cosine"])
def test_short_form_names_the_divergence(divergence):
    (entry,) = spec(f"predictions: {divergence}").entries()
    assert entry.divergence == divergence


@pytest.mark.parametrize("given", ["none", None, {"edges": "none"}, {"edges": None}, {"edges": []}])
def test_none_connects_nobody_however_many_peers(given):
    assert edges(given) == set()
    assert edges(given, ["alone"]) == set()


def test_a_spec_can_be_given_as_an_object():
    assert edges(TransferSpec(teachers="net_a")) == {("net_a", "net_b"), ("net_a", "net_c")}


def test_from_and_to_choose_the_pairs():
    assert edges({"from": "net_a"}) == {("net_a", "net_b"), ("net_a", "net_c")}
    assert edges({"to": "net_a"}) == {("net_b", "net_a"), ("net_c", "net_a")}
    assert edges({"from": ["net_a", "net_b"], "to": ["net_b"]}) == {("net_a", "net_b")}


def test_entries_take_what_they_leave_out_from_the_mapping_around_them():
    made = spec(
        {
            "divergence": "js",
            "temperature": 4,
            "weight_schedule": "linear",
            "edges": [
                {"from": "net_a", "to": "net_b"},
                {"from": "net_b", "to": "net_a", "temperature": 2, "divergence": "kl"},
            ],
        }
    ).entries()
    assert [entry.divergence for entry in made] == ["js", "kl"]
    assert [entry.temperature for entry in made] == [4, 2]
    assert [entry.weight_schedule.kind for entry in made] == ["linear", "linear"]
    assert [entry.teachers for entry in made] == ["net_a", "net_b"]


def test_every_field_of_an_edge_reaches_entries_as_a_default():
    values = {
        "from": ["net_a"],
        "to": ["net_b"],
        "knowledge": "predictions",
        "divergence": "renyi",
        "alpha": 2.0,
        "alpha_schedule": {"kind": "cosine", "start": 1.0},
        "classes": "all",
        "clamp": 1e-6,
        "temperature": 3.0,
        "teacher_temperature": 0.5,
        "temperature_range": (1.0, 2.0),
        "weighting": "none",
        "weight": 0.5,
        "weight_schedule": "linear",
        "gate": "confident",
        "gate_threshold": 0.7,
        "gate_temperature": 2.0,
        "rows": "labelled",
        "teacher_ema": 0.9,
        "teacher_view": 1,
        "detach": True,
        "target": "sum",
        "proven": {"ends": "teacher", "least": 0.6},
    }
    features = {"knowledge": "features", "layer": {"from": "a", "to": "b"}, "feature_loss": "hint"}
    relations = {"knowledge": "relations", "layer": "pooled", "memory": 512, "views": 2}
    others = {"knowledge": "other_classes", "transform": "log", "eps": 0.1, "stop_distance": 5.0}
    others |= {"teacher_ema": None, "teacher_view": None, "proven": "none"}
    repelling = others | {"layers": ["x", "y"]}
    posteriors = repelling | {"knowledge": "posteriors", "distance": "w2", "per_layer": True}
    posteriors |= {"normalise": True}
    distributions = repelling | {
        "knowledge": "feature_distributions",
        "feature_divergence": "pkt",
        "fusion": "attention",
    }
    distributions |= {"width": 8, "tokens": 2, "centred": False, "feature_temperature": 0.1}
    distributions |= {"supervised_fusion": True}
    doubts = {"knowledge": "doubted_labels", "doubt": "everything"}
    rankings = {"knowledge": "rankings", "temperature": 2.0, "target": "sum"}
    rankings |= {"candidates": "negatives"}
    names = {field.alias or name for name, field in EdgeFields.model_fields.items()}
    everything = rankings | doubts | posteriors | distributions | features | relations | values
    assert everything.keys() == names, "a new field of EdgeFields needs a value here"
    kinds = [set(fields) for fields in FIELDS_OF.values()]
    shared = names - set().union(*kinds)
    of_kinds = (values, features, relations, posteriors, distributions, others, doubts, rankings)
    for own, special in zip(kinds, of_kinds, strict=True):
        given = {k: v for k, v in everything.items() if k in own | shared} | special
        (inherited,) = spec(given | {"edges": [{}]}).entries()
        (stated,) = spec({"edges": [given]}).entries()
        assert inherited == stated


def test_an_entry_inherits_only_what_its_knowledge_has():
    shared = {"temperature": 3, "layer": "stage2", "weight": 0.5}
    edges = [{"from": "net_a", "to": "net_b"}, {"from": "net_a", "knowledge": "features"}]
    predictions, features = spec(shared | {"edges": edges}).entries()
    assert (predictions.temperature, predictions.weight) == (3, 0.5)
    assert (features.layer.teacher, features.weight) == ("stage2", 0.5)
    assert not features.model_fields_set & set(FIELDS_OF["predictions"])


def test_a_block_of_a_knowledge_holds_for_its_entries_alone():
    given = {
        "weight": 0.5,
        "features": {"weight": 2, "feature_loss": "attention"},
        "predictions": {"temperature": 4},
        "edges": [{}, {"knowledge": "features"}, {"knowledge": "features", "weight": 3}],
    }
    predictions, features, heavier = spec(given).entries()
    assert (predictions.weight, predictions.temperature) == (0.5, 4)
    assert (features.weight, features.feature_loss) == (2, "attention")
    assert (heavier.weight, heavier.feature_loss) == (3, "attention")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"knowledge": "features", "temperature": 3}, "temperature: belongs to knowledge 'predic"),
        ({"layer": "stage1"}, "layer: belongs to knowledge 'features'"),
        ({"knowledge": "features", "target": "ensemble"}, "target: 'ensemble'.*mean, sum"),
        ({"knowledge": "feature"}, "knowledge.*'features'"),
    ],
)
def test_options_of_another_knowledge_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        spec({"edges": [given]})


def test_defaults_depend_on_the_knowledge_and_survive_a_complete_dump():
    for around in ("predictions", "relations", "features"):
        kinds = [{"knowledge": "predictions"}, {"knowledge": "relations"}, {}]
        made = spec({"knowledge": around, "edges": kinds})
        for given in (made, spec(made.model_dump(by_alias=True))):
            predictions, relations, _ = given.entries()
            assert (predictions.divergence, predictions.temperature) == ("kl", 1.0)
            assert (relations.divergence, relations.temperature) == ("symmetric_kl", 0.07)


def test_relations_have_a_short_form_and_a_block():
    (entry,) = spec("relations: js").entries()
    assert (entry.knowledge, entry.divergence, entry.temperature) == ("relations", "js", 0.07)
    block = {"temperature": 0.2, "memory": 64}
    mixed = {"temperature": 3, "relations": block, "edges": [{}, {"knowledge": "relations"}]}
    predictions, relations = spec(mixed).entries()
    assert predictions.temperature == 3
    assert (relations.temperature, relations.memory) == (0.2, 64)


def test_a_divergence_and_a_temperature_are_for_relations_where_the_knowledge_around_them_is():
    loss = {"divergence": "renyi", "alpha": 2, "temperature": 3}
    kinds = [{"knowledge": "predictions"}, {"knowledge": "relations"}]
    predictions, relations = spec(loss | {"edges": kinds}).entries()
    assert (predictions.divergence, predictions.alpha, predictions.temperature) == ("renyi", 2, 3)
    assert (relations.divergence, relations.alpha, relations.temperature) == (
        "symmetric_kl", None, 0.07
    )  # fmt: skip
    predictions, relations = spec(loss | {"knowledge": "relations", "edges": kinds}).entries()
    assert (relations.divergence, relations.alpha, relations.temperature) == ("renyi", 2, 3)
    assert (predictions.divergence, predictions.alpha, predictions.temperature) == ("kl", None, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"divergence": "mse"}, "divergence: 'mse' is between logits.*allowed: kl, .*renyi"),
        ({"temperature": "learned"}, "temperature: 'learned' reads logits"),
        ({"teacher_temperature": 1}, "teacher_temperature: belongs to knowledge 'predictions'"),
        ({"gate": "correct"}, "gate: belongs to knowledge 'predictions'"),
        ({"clamp": 0.1}, "clamp: belongs to knowledge 'predictions'"),
        ({"weighting": "class"}, "weighting: belongs to knowledge 'predictions'"),
        ({"feature_loss": "hint"}, "feature_loss: belongs to knowledge 'features'"),
        ({"memory": 1}, "memory"),
        ({"views": 3}, "views: found 3.*[Aa]llowed"),
    ],
)
def test_what_relations_cannot_do_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        spec({"edges": [{"knowledge": "relations", **given}]})


@pytest.mark.parametrize("given", [{"memory": 64}, {"views": 2}])
def test_options_of_relations_are_refused_elsewhere(given):
    with pytest.raises(InputError, match="belongs to knowledge 'relations'"):
        spec({"edges": [given]})


def test_edges_about_relations_describe_themselves():
    given = {"from": "net_a", "to": "net_b", "knowledge": "relations", "divergence": "renyi"}
    (edge,) = TransferGraph({"edges": [given | {"alpha": 2}]}, PEERS).edges()
    assert edge == {
        "from": "net_a", "to": "net_b", "knowledge": "relations", "divergence": "renyi α=2",
        "layer": "last", "temperature": 0.07, "memory": 2048, "views": 1, "weight": "1",
        "target": "mean",
    }  # fmt: skip


def test_features_have_a_short_form():
    (entry,) = spec("features: attention").entries()
    assert (entry.knowledge, entry.feature_loss) == ("features", "attention")


def test_repelling_kinds_have_short_forms_blocks_and_a_mapping_around_them():
    (posteriors,) = spec("posteriors: kl").entries()
    assert (posteriors.knowledge, posteriors.distance, posteriors.transform) == (
        "posteriors", "kl", "log"
    )  # fmt: skip
    (direct,) = spec("feature_distributions: direct_kl").entries()
    assert (direct.feature_divergence, direct.fusion) == ("direct_kl", "attention")
    kinds = [{}, {"knowledge": "posteriors"}, {"knowledge": "feature_distributions"}]
    block = {"weight": 0.01, "stop_distance": 3}
    given = {"transform": "none", "posteriors": block, "edges": kinds}
    predictions, posteriors, features = spec(given).entries()
    assert [each.weight for each in (predictions, posteriors, features)] == [1, 0.01, 1]
    assert (posteriors.stop_distance, features.stop_distance) == (3, None)
    assert posteriors.transform == features.transform == "none"


def test_repelling_edges_describe_themselves():
    given = [{"from": "net_a", "to": "net_b", "knowledge": "posteriors", "weight": 0.01}]
    given += [{"from": "net_a", "to": "net_b", "knowledge": "feature_distributions"}]
    assert list(TransferGraph({"edges": given}, PEERS).edges()) == [
        {
            "from": "net_a", "to": "net_b", "knowledge": "posteriors", "divergence": "w2",
            "transform": "log", "per_layer": False, "normalise": False, "stop_distance": None,
            "weight": "0.01", "target": "mean",
        },
        {
            "from": "net_a", "to": "net_b", "knowledge": "feature_distributions",
            "divergence": "pkt", "fusion": "attention", "centred": True,
            "feature_temperature": None, "transform": "log", "stop_distance": None, "weight": "1",
            "target": "mean",
        },
    ]  # fmt: skip


def test_an_entry_can_drop_the_order_it_inherits():
    given = {"divergence": "renyi", "alpha": 2, "edges": [{"divergence": "kl", "alpha": None}]}
    (entry,) = spec(given).entries()
    assert entry.alpha is None


def test_a_spec_survives_being_written_and_read_again():
    made = spec({"divergence": "renyi", "alpha": 2, "edges": [{"from": "net_a", "weight": 0.3}]})
    again = spec(made.model_dump(by_alias=True, exclude_unset=True))
    assert again.entries() == made.entries()


def test_edges_describe_themselves_for_reports():
    given = {
        "from": "net_a",
        "to": "net_b",
        "divergence": "renyi",
        "alpha": 1.5,
        "weight_schedule": {"kind": "linear", "over": 0.2},
        "gate": "correct",
    }
    (edge,) = TransferGraph(given, PEERS).edges()
    assert edge == {
        "from": "net_a",
        "to": "net_b",
        "knowledge": "predictions",
        "divergence": "renyi α=1.5",
        "temperature": 1.0,
        "weight": "linear 0 → 1 over 20%",
        "teacher_temperature": None,
        "weighting": "none",
        "gate": "correct",
        "target": "mean",
    }


def test_sequential_is_read_from_update():
    assert TransferGraph({"update": "sequential"}, PEERS).sequential
    assert not TransferGraph("predictions: kl", PEERS).sequential


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("predictions: kll", ["transfer.divergence", "'kll'", "Did you mean 'kl'", "reverse_kl"]),
        ("nonee", ["transfer", "'nonee'", "Did you mean 'none'"]),
        ("predictions:kl", ["Did you mean 'predictions: kl'"]),
        ("predictions: kl: 2", ["transfer", "predictions: kl"]),
        ("{broken", ["transfer", "{broken"]),
        (5, ["transfer", "5"]),
        ([1, 2], ["transfer", "[1, 2]"]),
        ({"weigth": 2}, ["transfer.weigth", "Did you mean 'weight'"]),
        ({"weight-schedule": "linear"}, ["weight-schedule", "Did you mean 'weight_schedule'"]),
        ({"weight": -1}, ["transfer.weight", "-1"]),
        ({"weight": "x"}, ["transfer.weight", "'x'"]),
        ({"weight": float("nan")}, ["transfer.weight", "nan"]),
        ({"temperature": 0}, ["transfer.temperature", "0"]),
        ({"clamp": 0}, ["transfer.clamp"]),
        ({"clamp": 1}, ["transfer.clamp"]),
        ({"gate": "cut-off"}, ["transfer.gate", "Did you mean 'cutoff'", "confident"]),
        ({"gate_threshold": 1.5}, ["transfer.gate_threshold"]),
        ({"rows": "labeled"}, ["transfer.rows", "Did you mean 'labelled'"]),
        ({"target": "ensembel"}, ["transfer.target", "Did you mean 'ensemble'"]),
        ({"update": "seqential"}, ["transfer.update", "Did you mean 'sequential'"]),
        ({"knowledge": "prediction"}, ["transfer.knowledge", "Did you mean 'predictions'"]),
        ({"detach": "maybe"}, ["transfer.detach", "'maybe'"]),
        ({"edges": "al"}, ["transfer.edges", "Did you mean 'all'"]),
        ({"edges": ["net_a"]}, ["transfer.edges.0", "'net_a'"]),
        ({"weight_schedule": "linaer"}, ["transfer.weight_schedule", "Did you mean 'linear'"]),
        ({"weight_schedule": {"kin": "linear"}}, ["transfer.weight_schedule.kin", "'kind'"]),
        ({"weight_schedule": "exponential"}, ["transfer.weight_schedule", "start > 0"]),
        ({"divergence": "renyi"}, ["alpha", "renyi"]),
        ({"divergence": "renyi", "alpha": -1}, ["transfer.alpha", "-1"]),
        ({"alpha": 2}, ["alpha", "2", "'kl'", "renyi"]),
        ({"edges": [{}, {"weigth": 2}]}, ["edges.1.weigth", "Did you mean 'weight'"]),
        ({"edges": [{"divergence": "kll"}]}, ["edges.0.divergence", "Did you mean 'kl'"]),
        ({"edges": [{"update": "sequential"}]}, ["edges.0.update", "unknown key"]),
        ({"from": "net_d"}, ["transfer.from", "'net_d'", "Did you mean 'net_", "net_c"]),
        ({"to": ["net_a", "x"]}, ["transfer.to", "'x'", "net_a, net_b, net_c"]),
        ({"edges": [{}, {"from": "net_d"}]}, ["transfer.edges.1.from", "'net_d'"]),
        ({"from": ["net_a", "net_a"]}, ["transfer.from", "'net_a'", "twice"]),
        ({"from": "net_a", "to": "net_a"}, ["transfer", "nobody to learn from"]),
        ({"from": []}, ["transfer", "nobody to learn from"]),
        ({"from": "self"}, ["from: 'self'", "teacher_temperature", "other than 1.0"]),
        ({"from": "self", "teacher_temperature": 1}, ["teacher_temperature", "other than 1.0"]),
        (
            {"from": "self", "temperature": 2, "teacher_temperature": 2},
            ["teacher_temperature", "other than 2.0"],
        ),
        ({"from": "self", "divergence": "mse"}, ["from: 'self'", "'mse'", "allowed: kl"]),
        ({"from": "self", "knowledge": "features"}, ["'features'", "allowed: predictions, or a t"]),
        ({"teacher_ema": 1}, ["transfer.teacher_ema", "found 1"]),
        ({"teacher_ema": 0.9, "detach": False}, ["detach: false", "allowed: true"]),
        ({"teacher_ema": 0.9, "weighting": "class"}, ["weighting: 'class'", "allowed: none"]),
        ({"teacher_view": 1}, ["teacher_view: found 1", "peers.NAME.view"]),
        ({"gate_temperature": 1}, ["gate_temperature: found 1", "'through'", "confident"]),
        ({"from": "self", "knowledge": "relations"}, ["'relations'", "allowed: predictions"]),
        ({"from": ["self"]}, ["transfer.from", "'self'", "net_a, net_b, net_c"]),
        ({"knowledge": "posterior"}, ["transfer.knowledge", "Did you mean 'posteriors'"]),
        ({"distance": "w3"}, ["transfer.distance", "Did you mean 'w2'", "symmetric_kl"]),
    ],
)
def test_a_mistake_is_named_with_its_field_and_the_nearest_match(given, said):
    message = refused(given)
    for words in said:
        assert words in message


def test_all_mistakes_are_reported_at_once():
    message = refused({"weigth": 2, "gate": "open", "temperature": -1})
    for field in ("transfer.weigth", "transfer.gate", "transfer.temperature"):
        assert field in message
    message = refused({"edges": [{"weigth": 2}, {"gate": "open"}]})
    assert "edges.0.weigth" in message
    assert "edges.1.gate" in message


def test_one_peer_cannot_teach_itself():
    message = refused("predictions: kl", ["alone"])
    assert "'alone'" in message
    assert "transfer: none" in message


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"divergence": "mse", "temperature": 2}, "temperature"),
        ({"divergence": "cosine", "clamp": 1e-8}, "clamp"),
        ({"divergence": "kl", "alpha_schedule": "linear"}, "alpha_schedule"),
        ({"divergence": "kl", "alpha": 2}, "alpha"),
        ({"divergence": "renyi"}, "alpha"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(given, field):
    with pytest.raises(InputError, match=rf"transfer\.?:? ?{field}: "):
        spec(given)


def test_defaults_around_the_entries_need_not_make_an_entry_of_their_own():
    made = spec({"alpha": 2, "edges": [{"divergence": "renyi"}]})
    assert [entry.alpha for entry in made.entries()] == [2]
