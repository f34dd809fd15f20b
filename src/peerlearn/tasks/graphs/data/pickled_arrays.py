"""Reads pickles of arrays, sparse matrices and adjacency lists without running what they name.

The classic citation graphs are published as pickles. A pickle is a program: it may name any
function there is and call it. Here a name is either one of those that such files need, and then
stands for an inert class of this module which only notes what it is given, or refused. Arrays
are built afterwards, from what was noted, by plain number parsing.
"""

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from peerlearn.data.arrays import Array
from peerlearn.errors import InputError
from peerlearn.files import check_file


class _Sealed(type):
    """A pickle may also set attributes of what it was handed, were it a class."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError("attributes of classes cannot be set")


class _Noted(metaclass=_Sealed):
    """Notes the state that an object is given."""

    __slots__ = ("state",)
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Ndarray(_Noted):
    """An array: (version, shape, dtype, Fortran order, bytes)."""

    __slots__ = ()


class _Csr(_Noted):
    """The attributes of a sparse matrix."""

    __slots__ = ()


class _Dtype(metaclass=_Sealed):
    """Notes the type code of numbers and their byte order."""

    __slots__ = ("code", "order")
    code: str
    order: str

    def __new__(cls, code: str, *flags: object) -> "_Dtype":
        made = super().__new__(cls)
        made.code, made.order = code, "|"
        return made

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Reconstruct(metaclass=_Sealed):
    """`numpy.core.multiarray._reconstruct` and `copy_reg._reconstructor`: state comes later."""

    def __new__(cls, kind: type, *rest: object) -> Any:
        if kind not in (_Ndarray, _Csr):
            raise InputError(f"it builds {kind!r}; allowed: arrays and sparse matrices")
        return object.__new__(kind)


class _FromBuffer(metaclass=_Sealed):
    """`numpy.core.numeric._frombuffer`: the same in one go."""

    def __new__(cls, raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> Any:
        made = _Ndarray()
        made.state = (1, shape, dtype, order == "F", raw)
        return made


class _Scalar(metaclass=_Sealed):
    """`numpy.core.multiarray.scalar`: one number."""

    def __new__(cls, dtype: _Dtype, raw: Any) -> Any:
        return _numbers(dtype, raw)[0].item()


class _Encode(metaclass=_Sealed):
    """`_codecs.encode`: how bytes are written by the older protocols."""

    def __new__(cls, text: str, codec: str = "latin1") -> Any:
        return text.encode("latin1")


class _NoBytes(metaclass=_Sealed):
    """`bytes()`: how the older protocols write that there are none."""

    def __new__(cls) -> Any:
        return b""


_NUMPY = {
    ("multiarray", "_reconstruct"): _Reconstruct,
    ("multiarray", "scalar"): _Scalar,
    ("numeric", "_frombuffer"): _FromBuffer,
}
_BUILTINS = {"object": object, "list": list, "bytes": _NoBytes}
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.{m}", n): it for core in ("core", "_core") for (m, n), it in _NUMPY.items()},
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    **{
        (f"scipy.sparse.{module}", name): _Csr
        for module in ("csr", "_csr")
        for name in ("csr_matrix", "csr_array")
    },
    ("copy_reg", "_reconstructor"): _Reconstruct,
    ("copyreg", "_reconstructor"): _Reconstruct,
    **{(b, n): it for b in ("__builtin__", "builtins") for n, it in _BUILTINS.items()},
    ("collections", "defaultdict"): defaultdict,
    ("_codecs", "encode"): _Encode,
}


class _Reader(pickle._Unpickler):
    """An unpickler that knows no names but those of `_ALLOWED`.

    It is the one in Python: that in C takes as much memory as a number in a damaged file says.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"it names {module}.{name}, which files of this kind do not need; nothing was run"
            ) from None


def read_pickle(path: Path) -> Any:
    """What the pickle holds: an array, a CSR array, or lists and dicts of whole numbers.

    Raises InputError: no such file, damaged, or it holds or names anything else.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            # latin1 is how Python 3 reads the byte strings of Python 2.
            found = _Reader(file, fix_imports=False, encoding="latin1").load()
        return _built(found)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except InputError as error:
        raise InputError(f"{path}: not loaded: {error}.") from None
    except Exception as error:  # a damaged pickle can raise anything
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{path}: not a pickle of arrays, or damaged ({said}).") from error


def _built(found: Any) -> Any:
    if isinstance(found, _Ndarray):
        return _array(found)
    if isinstance(found, _Csr):
        parts = [_array(found.state[key]) for key in ("data", "indices", "indptr")]
        shape = found.state.get("_shape") or found.state["shape"]
        matrix = sp.csr_array(tuple(parts), shape=tuple(map(int, shape)))
        matrix.check_format(full_check=True)
        return matrix
    if isinstance(found, dict | list):
        return found
    raise InputError(f"it holds {type(found).__name__}, neither an array nor lists")


def _array(noted: _Ndarray) -> Array:
    _, shape, dtype, fortran, raw = noted.state
    return _numbers(dtype, raw).reshape(shape, order="F" if fortran else "C")


def _numbers(dtype: _Dtype, raw: Any) -> Array:
    if dtype.code[0] not in "biuf" or not dtype.code[1:].isdigit():
        raise InputError(f"an array of type {dtype.code!r}; allowed: numbers")
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes | bytearray):
        raise InputError(f"an array of {type(data).__name__}; allowed: bytes")
    order = dtype.order if dtype.order in ("<", ">") else "="
    return np.frombuffer(data, np.dtype(order + dtype.code)).astype(dtype.code)
