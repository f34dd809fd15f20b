"""Published citation graphs are pickles: they are read without running what they name."""

import io
import os
import pickle
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from scipy import sparse as sp

from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data.pickled_arrays import read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def read(tmp_path):
    def read(raw):
        path = tmp_path / "ind.cora.x"
        path.write_bytes(raw)
        return read_pickle(path)

    return read


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_protocol_and_layout_are_read(read, protocol):
    rng = np.random.default_rng(0)
    for array in (
        rng.random((3, 4)).astype(np.float32),
        rng.integers(-9, 9, (3, 4)).T,
        rng.random(5).astype(">f8"),
        np.array([[True], [False]]),
        np.zeros((0, 3), np.uint8),
    ):
        found = read(pickle.dumps(array, protocol))
        assert found.tolist() == array.tolist()
        assert found.shape == array.shape
        assert found.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
def test_sparse_matrices_of_every_protocol_are_read(read, protocol, kind):
    matrix = kind(sp.random_array((5, 9), density=0.3, rng=0, dtype=np.float32))
    found = read(pickle.dumps(matrix, protocol))
    assert isinstance(found, sp.csr_array)
    assert (found.toarray() == matrix.toarray()).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_adjacency_lists_are_read(read, protocol):
    graph = defaultdict(list, {0: [1, 2], 1: [0], 2: [np.int64(0)]})
    assert read(pickle.dumps(graph, protocol)) == {0: [1, 2], 1: [0], 2: [0]}
    assert read(pickle.dumps(dict(graph), protocol)) == graph


def test_files_of_python_2_under_the_old_names_of_numpy_are_read(read):
    numbers = np.array([1.5, -2.0, 3e9], "<f4")
    raw = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c"
        + numbers.tobytes()
        + b"tb."
    )
    assert read(raw).tolist() == numbers.tolist()
    matrix = sp.csr_matrix(np.eye(3, dtype=np.float32))
    old = pickle.dumps(matrix, 0).replace(b"scipy.sparse._csr", b"scipy.sparse.csr")
    old = old.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in old
    assert b"copy_reg" in old
    assert (read(old).toarray() == np.eye(3)).all()


class Runs:
    """A pickle that calls `function(*arguments)` when it is loaded by the usual means."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("exit 1",), "posix.system|nt.system"),
        (eval, ("1 + 1",), "builtins.eval"),
        (getattr, (list, "append"), "builtins.getattr"),
        (np.load, ("x.npy",), "numpy.load"),
        (io.open, ("x",), "io.open"),
        (OrderedDict, (), "collections.OrderedDict"),
        (pickle.loads, (b"N.",), "pickle.loads"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_names_anything_else_is_refused_and_nothing_runs(
    read, function, arguments, name, protocol
):
    with pytest.raises(InputError, match=rf"ind\.cora\.x: not loaded: it names .*{name[-4:]}"):
        read(pickle.dumps({0: [Runs(function, *arguments)]}, protocol))


def test_names_below_an_allowed_name_are_refused(read):
    raw = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    with pytest.raises(InputError, match=r"names numpy\.ndarray\.tofile"):
        read(raw)


def test_a_pickle_cannot_change_the_classes_that_read_it(read):
    change = b"\x80\x02c%b\nN}U\x07__new__c__builtin__\nlist\ns\x86b."
    with pytest.raises(InputError, match="attributes of classes cannot be set"):
        read(change % b"numpy.core.multiarray\n_reconstruct")
    with pytest.raises(InputError, match="damaged"):
        read(change % b"numpy\nndarray")
    with pytest.raises(InputError, match="damaged"):
        read(change % b"__builtin__\nlist")
    array = np.arange(3)
    assert read(pickle.dumps(array)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not a pickle",
        pickle.dumps(np.arange(9.0))[:60],
        pickle.dumps("text"),
        pickle.dumps(np.array(["text"])),
        pickle.dumps(np.array([{}], object)),
        pickle.dumps(sp.csr_matrix(np.eye(3)), 2).replace(b"indptr", b"indptX"),
        pickle.dumps(np.arange(3, dtype="f4"), 4).replace(b"K\x03\x85", b"K\x04\x85"),
        pickle.dumps([[0]] * 3).replace(b"K\x00", b"P1\n"),
    ],
)
def test_damaged_files_and_other_contents_are_told_not_raised(read, raw):
    with pytest.raises(InputError, match=r"ind\.cora\.x: not (loaded|a pickle)"):
        read(raw)


def test_a_matrix_whose_parts_do_not_fit_is_refused(read):
    matrix = sp.csr_matrix(np.eye(3, dtype=np.float32))
    matrix.indices = np.array([0, 1, 7], np.int32)
    with pytest.raises(InputError, match="damaged"):
        read(pickle.dumps(matrix))
