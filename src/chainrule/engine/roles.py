"""The roles of functions: which arguments compiled code takes, and of what types."""

from __future__ import annotations

from typing import Any, TypeAlias

# The arguments of each role, and after a colon what it returns: M matrix, S columns of a matrix,
# R matrix that is only read, V vector, H and D vector and matrix in float64, F such a
# number, I integer, A integers (addresses, row numbers), B and T such in two and three dimensions,
# J such of 32 bits in two dimensions, U words of random bits.
ROLES = {
    "forward": "MVHMM",  # W, b, s, a, z
    "pullback": "MVHMMM",  # W, b, s, a, delta, below
    "gradient": "MVHSMMV",  # W, b, s, a, delta, nabla_W, nabla_b
    "f": "MM",  # z, a
    "f_pullback": "MMM",  # z, a, delta
    "collect": "HMH",  # s, a, part
    "pool": "DH",  # parts, s
    "collect_back": "HMMH",  # s, a, delta, part
    "pool_back": "DH",  # parts, s
    "cost": "MMMV",  # z, a, y, c
    "delta": "MMMM",  # z, a, y, delta
    "step": "VVMHI",  # theta, nabla, state, h, t
    "descend": "HSMFMV",  # s, a, delta, eta, W, b
    "penalty": "MFF:F",  # W, l2, l1
    "add_penalty_gradient": "MFFM",  # W, l2, l1, nabla_W
    "clip_values": "FV",  # bound, nabla
    "clip_norm": "FV",  # bound, nabla
    "shrink": "FM",  # factor, W
    "limit_norms": "FM",  # bound, W
    "follow": "FVV",  # newest, theta, average
}
# Of each kind of array: how many dimensions, and the dtype, None for that of the numbers.
KINDS: dict[str, tuple[int, str | None]] = {
    "M": (2, None),
    "S": (2, None),
    "V": (1, None),
    "R": (2, None),
    "H": (1, "float64"),
    "D": (2, "float64"),
    "A": (1, "int64"),
    "B": (2, "int64"),
    "T": (3, "int64"),
    "J": (2, "int32"),
    "U": (1, "uint64"),
}
# Of each argument its letter, or the class of a NamedTuple and the letters of its fields; or of a
# NamedTuple of NamedTuples the class and these pairs: it is handed over as in `engine.kept`.
Arguments: TypeAlias = str | tuple[Any, ...]


def numba_types(arguments: Arguments, number: Any) -> Any:
    """Numba's types for these arguments, given Numba's type of the numbers."""
    from numba import types as nb

    def of_kind(kind: str) -> Any:
        if kind in "FI":
            return nb.float64 if kind == "F" else nb.int64
        ndim, dtype = KINDS[kind]
        of = number if dtype is None else getattr(nb, dtype)
        return nb.Array(of, ndim, "A" if kind == "S" else "C", readonly=kind == "R")

    def type_of(argument: Any) -> Any:
        if isinstance(argument, str):
            return of_kind(argument)
        cls, each = argument
        fields = tuple(map(type_of, each))
        if len(fields) != len(cls._fields):
            raise ValueError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(fields)}")
        whole = nb.BaseTuple.from_types(fields, cls)
        if isinstance(each, str):
            return whole
        from chainrule.engine.kept_type import KeptType

        return KeptType(whole)

    return tuple(map(type_of, arguments))


def fields(arguments: Arguments) -> list[Any]:
    """The names in all NamedTuples among the arguments."""
    return [[each[0]._fields, fields(each[1])] for each in arguments if not isinstance(each, str)]


def numba_signature(role: str, number: Any) -> Any:
    """Numba's signature of a role, given Numba's type of the numbers."""
    from numba import types as nb

    takes, _, gives = ROLES[role].partition(":")
    return (nb.float64 if gives else nb.void)(*numba_types(takes, number))
