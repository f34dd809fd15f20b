import numpy as np
import pytest
import torch
from PIL import Image

from peerlearn.data.augment import normalise
from peerlearn.errors import InputError
from peerlearn.tasks.discovery.data.datasets import DiscoveryInfo
from peerlearn.tasks.discovery.data.loaders import evaluation_rows
from peerlearn.tasks.discovery.data.registry import load_discovery
from peerlearn.tasks.discovery.data.spec import DiscoveryDataSpec
from peerlearn.validation import validated

RNG = np.random.default_rng(0)


def images(rows, shape=(6, 6, 3)):
    return RNG.integers(0, 256, (rows, *shape), dtype=np.uint8)


def labelled_by_content(classes, per_class=10):
    """Images whose first byte is their class, so that a lost or swapped row shows."""
    y = np.arange(classes * per_class) % classes
    x = images(len(y))
    x[:, 0, 0, 0] = y
    return x, y


@pytest.fixture
def npz(tmp_path):
    def save(name, **arrays):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return str(path)

    return save


@pytest.fixture
def one(npz):
    """One data set of six classes, every split labelled."""

    def save(**changes):
        arrays = {}
        for part, rows in (("train", 10), ("val", 2), ("test", 3)):
            arrays[f"x_{part}"], arrays[f"y_{part}"] = labelled_by_content(6, rows)
        return npz("one", **{**arrays, **changes})

    return save


@pytest.fixture
def two(npz):
    """Labelled rows of classes 0 to 2 and unlabelled rows of classes 3 and 4."""

    def save(labelled=None, unlabelled=None):
        x, y = labelled_by_content(5)
        x_test, y_test = labelled_by_content(5, 3)
        old, old_test = y < 3, y_test < 3
        first = {"x": x[old], "y": y[old], "x_test": x_test[old_test], "y_test": y_test[old_test]}
        second = {"x": x[~old], "y": y[~old]}
        return {
            "labelled": npz("old", **{**first, **(labelled or {})}),
            "unlabelled": npz("new", **{**second, **(unlabelled or {})}),
        }

    return save


def load(name=None, **options):
    return load_discovery(DiscoveryDataSpec(**({"name": name} if name else {}), **options))


def content(x):
    """The class that an image of `labelled_by_content` shows."""
    return x[:, 0, 0, 0].long()


# One data set.


def test_half_of_the_classes_are_known_and_the_others_lose_their_labels(one):
    data = load(one())
    assert (data.known, data.novel, data.class_names) == (3, 3, tuple("012345"))
    assert torch.equal(data.truth, content(data.train.x))
    assert torch.equal(data.train.y, torch.where(data.truth < 3, data.truth, -1))
    assert data.labelled.tolist() == (data.truth < 3).nonzero()[:, 0].tolist()
    assert data.unlabelled.tolist() == (data.truth >= 3).nonzero()[:, 0].tolist()
    assert not data.generalised


def test_validation_rows_are_test_rows_because_nothing_is_selected_on_them(one):
    data = load(one())
    assert len(data.train) == 60
    assert len(data.test) == 6 * (2 + 3)
    assert torch.equal(data.test.y, content(data.test.x))


def test_an_odd_number_of_classes_has_one_more_known(npz):
    x, y = labelled_by_content(3)
    data = load(npz("odd", x_train=x, y_train=y, x_test=x, y_test=y))
    assert (data.known, data.novel) == (2, 1)


def test_known_classes_come_first_in_the_order_asked_for(one):
    names = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])
    path = one(class_names=names)
    for known in ([4, 1], ["eel", "bee"], ["eel", 1]):
        data = load(path, known=known)
        assert (data.known, data.novel) == (2, 4)
        assert data.class_names == ("eel", "bee", "ant", "cat", "dog", "fox")
        order = torch.tensor([2, 1, 3, 4, 0, 5])  # from number in the file to number here
        assert torch.equal(data.truth, order[content(data.train.x)])
        assert torch.equal(data.test.y, order[content(data.test.x)])
        assert data.train.y.unique().tolist() == [-1, 0, 1]


def test_a_number_of_known_classes_takes_the_first_that_occur(one):
    assert load(one(), known=4).class_names == tuple("012345")
    x, y = labelled_by_content(6)
    kept = y != 1  # a class that does not occur at all
    path = one(x_train=x[kept], y_train=y[kept], x_test=x[kept], y_test=y[kept],
               x_val=None, y_val=None)  # fmt: skip
    data = load(path, known=2)
    assert data.class_names == ("0", "2", "3", "4", "5")
    assert (data.known, data.novel) == (2, 3)


def test_rows_without_a_label_are_the_unlabelled_ones_and_every_class_is_known(one):
    x, y = labelled_by_content(6)
    y[y >= 4] = -1
    test = labelled_by_content(4)
    path = one(x_train=x, y_train=y, x_test=test[0], y_test=test[1], x_val=None, y_val=None)
    data = load(path)
    assert (data.known, data.novel, data.class_names) == (4, None, tuple("0123"))
    assert data.truth[data.unlabelled].unique().tolist() == [-1]
    assert len(data.unlabelled) == 20
    some = load(path, known=2)
    assert (some.known, some.novel) == (2, None)
    assert some.truth[some.unlabelled].unique().tolist() == [-1, 2, 3]


def test_a_share_of_the_known_rows_joins_the_unlabelled_ones(one):
    data, plain = load(one(), unlabelled_known=0.4), load(one())
    assert torch.equal(data.truth, plain.truth)
    assert data.truth[data.unlabelled].bincount().tolist() == [4, 4, 4, 10, 10, 10]
    assert data.truth[data.labelled].bincount().tolist() == [6, 6, 6]
    assert data.generalised
    more = load(one(), unlabelled_known=0.6)
    assert set(data.unlabelled.tolist()) < set(more.unlabelled.tolist())
    other = load(one(), unlabelled_known=0.4, split_seed=1)
    assert data.unlabelled.tolist() != other.unlabelled.tolist()


def test_train_size_keeps_as_many_of_each_class_and_the_same_test(one):
    path = one()
    data = load(path, train_size=24)
    assert data.truth.bincount().tolist() == [4] * 6
    assert torch.equal(data.truth, content(data.train.x))
    assert torch.equal(data.test.x, load(path).test.x)
    assert not torch.equal(data.train.x, load(path, train_size=24, split_seed=1).train.x)


def test_labels_of_new_classes_decide_nothing_where_all_rows_are_used(one):
    """Only the truth differs between a file and the same one with new labels shuffled."""
    x, y = labelled_by_content(6)
    shuffled = y.copy()
    shuffled[y >= 3] = np.random.default_rng(1).permutation(y[y >= 3])
    first, second = load(one(x_train=x, y_train=y)), load(one(x_train=x, y_train=shuffled))
    assert torch.equal(first.train.x, second.train.x)
    assert torch.equal(first.train.y, second.train.y)
    assert not torch.equal(first.truth, second.truth)


def test_statistics_are_those_of_all_training_rows(one):
    data = load(one())
    pixels = data.train.x.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_digits_are_the_default():
    data = load()
    assert (data.name, data.known, data.novel, data.sample_shape) == ("digits", 5, 5, (1, 8, 8))
    assert (len(data.train), len(data.test)) == (1257, 540)


def test_named_data_sets_are_found_below_the_root(npz, tmp_path):
    x, y = labelled_by_content(4)
    npz("mine", x_train=x, y_train=y, x_test=x, y_test=y)
    assert load("mine", root=str(tmp_path)).novel == 2
    with pytest.raises(InputError, match=r"data\.name: unknown data set or path 'mint'.*'mine'"):
        load("mint", root=str(tmp_path))


@pytest.mark.parametrize("name", ["cifar10", "mnist", "fashion_mnist"])
def test_real_data_sets_have_five_known_and_five_new_classes(shared_data, name):
    data = load(name, train_size=1000, root=str(shared_data))
    assert (data.known, data.novel) == (5, 5)
    assert data.truth.bincount().tolist() == [100] * 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known": 6}, r"data\.known: every row is labelled"),
        ({"known": 7}, r"data\.known: 7 of 6 classes; allowed: 2 to 6"),
        ({"known": ["cat", "dgo"]}, r"data\.known: unknown class 'dgo'. Did you mean 'dog'"),
        ({"known": ["dog", 3]}, "names a class twice"),
        ({"known": [0, 6]}, "no class 6; allowed: 0 to 5"),
        ({"known": ["cat"]}, "1 known class of 6"),
        ({"known": 6, "unlabelled_known": 0.5}, "no new class"),
        ({"unlabelled_known": 0.95}, "one of each class must be left; allowed: up to 27"),
        ({"train_size": 3}, r"data\.train_size: 3 is less"),
        ({"train_size": 61}, r"data\.train_size: 61 rows"),
        ({"size": 8}, r"data\.size"),
    ],
)
def test_a_choice_that_does_not_fit_the_data_set_is_refused(one, options, message):
    path = one(class_names=np.array(["ant", "bee", "cat", "dog", "eel", "fox"]))
    with pytest.raises(InputError, match=message):
        load(path, **options)


def test_several_labels_a_row_are_refused(npz):
    y = RNG.integers(0, 2, (8, 3))
    path = npz("several", x_train=images(8), y_train=y, x_test=images(8), y_test=y)
    with pytest.raises(InputError, match="several labels a row"):
        load(path)


def test_a_class_that_only_test_has_is_refused_unless_truth_is_missing(one):
    x, y = labelled_by_content(6)
    with pytest.raises(InputError, match="test rows of classes that train has no row of: 4"):
        load(one(x_train=x[y != 4], y_train=y[y != 4]))
    blank = np.where(y == 4, -1, y)
    data = load(one(y_train=blank, x_train=x), known=3)
    assert data.novel is None
    assert data.class_names == ("0", "1", "2", "3", "5", "4")


# A labelled and an unlabelled file.


def test_two_files_are_labelled_rows_and_unlabelled_rows_with_truth(two):
    data = load(**two())
    assert (data.known, data.novel, data.class_names) == (3, 2, tuple("01234"))
    assert data.train.y.tolist()[30:] == [-1] * 20
    assert torch.equal(data.truth, content(data.train.x))
    assert torch.equal(data.train.y[:30], data.truth[:30])
    assert torch.equal(data.test.y, content(data.test.x))
    assert data.name == "old+new"


def test_unlabelled_rows_need_no_truth(two):
    data = load(**two(unlabelled={"y": None}))
    assert (data.known, data.novel, data.class_names) == (3, None, tuple("012"))
    assert data.truth.tolist()[30:] == [-1] * 20
    assert not data.generalised


def test_test_rows_of_both_files_count(two):
    x, y = labelled_by_content(5, 2)
    data = load(**two(unlabelled={"x_test": x[y > 2], "y_test": y[y > 2]}))
    assert data.test.y.bincount().tolist() == [3, 3, 3, 2, 2]


def test_unlabelled_test_rows_measure_nothing_and_are_left_out(two):
    assert len(load(**two(unlabelled={"x_test": images(5)})).test) == 9


def test_without_test_rows_a_part_of_train_is_held_out_or_none(two):
    given = two(labelled={"x_test": None, "y_test": None})
    data = load(**given)
    assert (len(data.train), len(data.test)) == (45, 5)
    assert torch.equal(data.truth, content(data.train.x))
    assert torch.equal(data.test.y, content(data.test.x))
    assert len(load(**given, test_size=10).test) == 10
    none = load(**given, test_size=0)
    assert (len(none.train), len(none.test)) == (50, 0)
    assert none.test.x.shape == (0, 3, 6, 6)
    with pytest.raises(InputError, match=r"data\.test_size: 46 would hold out"):
        load(**given, test_size=46)


def test_rows_without_a_label_in_the_labelled_file_are_unlabelled(two):
    x, y = labelled_by_content(3)
    y[:4] = -1
    data = load(**two(labelled={"x": x, "y": y}))
    assert len(data.unlabelled) == 24
    assert data.novel is None


def test_classes_in_both_files_are_named_and_refused_unless_meant(two):
    x, y = labelled_by_content(5)
    given = two(unlabelled={"x": x[y > 0], "y": y[y > 0]})
    with pytest.raises(
        InputError, match=r"2 of its classes are classes of data\.labelled too: 1, 2"
    ):
        load(**given)
    data = load(**given, overlap=True)
    assert data.generalised
    assert data.truth[data.unlabelled].bincount().tolist() == [0, 10, 10, 10, 10]
    with pytest.raises(InputError, match="no new class"):
        load(**two(unlabelled={"x": x[y < 3], "y": y[y < 3]}), overlap=True)


def test_named_classes_are_the_same_where_their_names_are(two):
    x, y = labelled_by_content(5)
    own = {"x": x[y > 2], "y": y[y > 2] - 3, "class_names": np.array(["dog", "eel"])}
    given = {"labelled": {"class_names": np.array(["ant", "bee", "cat"])}, "unlabelled": own}
    data = load(**two(**given))
    assert data.class_names == ("ant", "bee", "cat", "dog", "eel")
    assert torch.equal(data.truth, content(data.train.x))
    given["unlabelled"] = own | {"class_names": np.array(["dog", "bee"])}
    with pytest.raises(InputError, match="too: bee"):
        load(**two(**given))


def test_names_cannot_be_compared_with_numbers(two):
    named = {"class_names": np.array(["ant", "bee", "cat"])}
    with pytest.raises(InputError, match="cannot be compared"):
        load(**two(labelled=named))
    assert load(**two(labelled=named, unlabelled={"y": None})).class_names[0] == "ant"


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "message"),
    [
        ({}, {"x": images(20, (5, 5, 3))}, r"data\.unlabelled: .*\(3, 5, 5\).*\(3, 6, 6\)"),
        ({}, {"x": images(20).astype("f4")}, "holds float32 but .* uint8"),
        ({"x_test": images(9, (5, 5, 3))}, {}, r"x_test has rows of shape \(3, 5, 5\) but x of"),
        ({"y": np.zeros(30, int)}, {}, "1 classes have a labelled row; at least 2"),
        ({"y": None}, {}, "0 classes have a labelled row"),
        ({}, {"x": images(0), "y": None}, "x is empty"),
        ({}, {"y": np.zeros(3, int)}, "x has 20 rows but y 3"),
        ({}, {"x": None}, "array 'x_train', or 'x', is missing. Found: y"),
        ({}, {"x_train": images(20)}, "both 'x' and 'x_train'"),
        ({"x_test": None}, {}, "'y_test' is there without 'x_test'"),
        ({"y": RNG.integers(0, 2, (30, 4))}, {}, "4 labels a row"),
        ({"class_names": np.array(["a"])}, {}, "a name for each class from 0 to 2"),
        ({"class_names": np.array(["a", "b", "a"])}, {}, "'a' twice"),
        ({"y": np.full(30, 0.5)}, {}, "not a whole number"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(two, labelled, unlabelled, message):
    with pytest.raises(InputError, match=message):
        load(**two(labelled, unlabelled))


def test_a_missing_file_is_named_with_its_field_and_neighbour(two):
    given = two()
    with pytest.raises(InputError, match=r"data\.unlabelled: .*nex\.npz: no such.*new\.npz"):
        load(**given | {"unlabelled": given["unlabelled"].replace("new", "nex")})


# Folders.


@pytest.fixture
def folder(tmp_path):
    def make(name, *classes, rows=4, side=6, colour=True):
        for label in classes:
            place = tmp_path / name / label
            place.mkdir(parents=True, exist_ok=True)
            for row in range(rows):
                pixels = images(1, (side, side, 3))[0]
                image = Image.fromarray(pixels if colour else pixels[..., 0])
                image.save(place / f"{row}.png")
        return str(tmp_path / name)

    return make


def test_one_folder_of_classes_is_divided_and_test_held_out(folder):
    data = load(folder("all", *(f"train/{name}" for name in ("ant", "bee", "cat", "dog"))))
    assert data.class_names == ("ant", "bee", "cat", "dog")
    assert (data.known, data.novel, len(data.train), len(data.test)) == (2, 2, 14, 2)


def test_folders_of_labelled_and_of_any_unlabelled_images(folder):
    labelled = folder("old", "train/ant", "train/bee", "test/ant", "test/bee")
    for places in ([""], ["a", "b/c"], ["train"]):
        unlabelled = folder("new" + "".join(places).replace("/", ""), *places)
        data = load(labelled=labelled, unlabelled=unlabelled)
        assert (data.known, data.novel) == (2, None)
        assert (len(data.labelled), len(data.unlabelled)) == (8, 4 * len(places))


def test_class_folders_of_unlabelled_images_are_their_truth(folder):
    labelled = folder("old", "train/ant", "train/bee")
    data = load(labelled=labelled, unlabelled=folder("new", "train/fox"), test_size=0)
    assert (data.known, data.novel, data.class_names) == (2, 1, ("ant", "bee", "fox"))
    assert data.truth.bincount().tolist() == [4, 4, 4]
    with pytest.raises(InputError, match="too: bee"):
        load(labelled=labelled, unlabelled=folder("more", "train/bee", "train/fox"))


def test_an_npz_and_a_folder_go_together(two, folder):
    given = two(unlabelled={"y": None})
    data = load(labelled=given["labelled"], unlabelled=folder("new", "a"))
    assert (len(data.labelled), len(data.unlabelled)) == (30, 4)


def test_images_of_different_sizes_are_refused_or_fitted(folder):
    given = {
        "labelled": folder("old", "train/ant", "train/bee"),
        "unlabelled": folder("new", "", side=8),
    }
    with pytest.raises(InputError, match=r"\(3, 8, 8\) .*\(3, 6, 6\).*data\.size"):
        load(**given)
    assert load(**given, size=5).sample_shape == (3, 5, 5)
    grey = folder("grey", "", colour=False)
    with pytest.raises(InputError, match=r"\(1, 6, 6\)"):
        load(**given | {"unlabelled": grey})


def test_an_unlabelled_folder_without_images_is_refused(folder, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: no images"):
        load(labelled=folder("old", "train/a", "train/b"), unlabelled=str(tmp_path / "none"))


# What a configuration may say.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labelled": "a.npz"}, "^data.labelled: given without 'unlabelled'"),
        ({"unlabelled": "a.npz"}, "^data.unlabelled: given without 'labelled'"),
        ({"labelled": "a", "unlabelled": "b", "known": 3}, "^data.known: the classes of"),
        ({"overlap": True}, "^data.overlap: is about two files"),
        ({"known": 1}, "^data.known: .*greater than or equal to 2; found 1"),
        ({"known": [2, 2]}, r"^data.known: \[2, 2\] names a class twice"),
        ({"unlabelled_known": 1}, "^data.unlabelled_known: .*less than 1"),
        ({"test_size": 2.5}, "^data.test_size: 2.5 is neither"),
        ({"labels": 3}, "^data.labels: unknown key. Did you mean 'labelled'"),
    ],
)
def test_a_wrong_block_is_refused_by_field(given, message):
    with pytest.raises(InputError, match=message):
        validated(DiscoveryDataSpec, given, "data")


def test_a_name_alone_is_a_short_form():
    spec = DiscoveryDataSpec.model_validate("/some/pets.npz")
    assert (spec.name, spec.short_name) == ("/some/pets.npz", "pets")


def test_info_names_known_classes_and_numbers_the_clusters(two, tmp_path):
    data = load(**two())
    info = DiscoveryInfo.from_discovery(data, 4)
    assert info.class_names == ("0", "1", "2", "new 1", "new 2", "new 3", "new 4")
    assert (info.known, info.classes, info.sample_shape) == (3, 7, (3, 6, 6))
    assert info.rows == {"labelled": 30, "unlabelled": 20, "test": 9}
    assert (info.mean, info.std, info.dtype) == (data.mean, data.std, "uint8")
    assert info.content == "rows of 3×6×6, 3 known and 4 new classes"
    (tmp_path / "data.json").write_text(info.model_dump_json())
    assert DiscoveryInfo.load(tmp_path / "data.json") == info


# Evaluation.


def test_evaluation_gives_unlabelled_rows_then_test_rows_with_their_truth(two):
    data = load(**two())
    sets = evaluation_rows(data, 8)
    assert list(sets) == ["unlabelled", "test"]
    for name, raw in (("unlabelled", data.train.x[data.unlabelled]), ("test", data.test.x)):
        for _ in range(2):
            x, y = (torch.cat(part) for part in zip(*sets[name](), strict=True))
            assert torch.equal(x, normalise(raw, data.mean, data.std))
            assert torch.equal(y, content(raw))
            assert y.dtype == torch.int64


def test_evaluation_without_truth_and_without_test(two):
    data = load(**two({"x_test": None, "y_test": None}, {"y": None}), test_size=0)
    sets = evaluation_rows(data, 8)
    batches = list(sets["unlabelled"]())
    assert [len(x) for x, _ in batches] == [8, 8, 4]
    assert all(y.eq(-1).all() for _, y in batches)
    assert not list(sets["test"]())
    with pytest.raises(InputError, match="batch_size: 0"):
        evaluation_rows(data, 0)


@pytest.fixture
def folders(tmp_path):
    """Class folders of two known classes, and loose images, a damaged one among each."""
    image = pytest.importorskip("PIL.Image")
    for place in ("known/ant", "known/bee", "loose", "loose/.ipynb_checkpoints"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(10):
            array = np.full((6, 6, 3), 20 * number, np.uint8)
            image.fromarray(array).save(tmp_path / place / f"{number}.png")
    for place in ("known/bee", "loose"):
        (tmp_path / place / "cut.png").write_bytes(b"")
    return {"labelled": str(tmp_path / "known"), "unlabelled": str(tmp_path / "loose")}


def test_labelled_images_are_read_of_class_folders_alone(folders):
    data = load(**folders, damaged="leave_out", test_size=2)
    assert data.class_names[:2] == ("ant", "bee")
    assert (len(data.labelled), len(data.unlabelled), len(data.test)) == (18, 10, 2)
    assert data.account.files == {"train": 20, "unlabelled": 10}
    assert {it.reason: it.names for it in data.account.left_out} == {
        "hidden": (".ipynb_checkpoints/",),
        "damaged": ("bee/cut.png", "cut.png"),
    }


def test_damaged_images_of_either_folder_are_named(folders):
    with pytest.raises(InputError, match=r"bee/cut\.png: cannot be read as an image"):
        load(**folders)
