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
# Of each argument its letter, or the class of a NamedTuple and the letters of its fields.
Arguments: TypeAlias = str | tuple[Any, ...]


def numba_types(arguments: Arguments, number: Any) -> Any:
    """Numba's types for these arguments, given Numba's type of the numbers."""
    from numba import types as nb

    kinds = {
        "M": nb.Array(number, 2, "C"),
        "S": nb.Array(number, 2, "A"),
        "V": nb.Array(number, 1, "C"),
        "R": nb.Array(number, 2, "C", readonly=True),
        "H": nb.Array(nb.float64, 1, "C"),
        "D": nb.Array(nb.float64, 2, "C"),
        "F": nb.float64,
        "I": nb.int64,
        "A": nb.Array(nb.int64, 1, "C"),
        "B": nb.Array(nb.int64, 2, "C"),
        "T": nb.Array(nb.int64, 3, "C"),
        "J": nb.Array(nb.int32, 2, "C"),
        "U": nb.Array(nb.uint64, 1, "C"),
    }

    def type_of(argument: Any) -> Any:
        if isinstance(argument, str):
            return kinds[argument]
        cls, letters = argument
        fields = tuple(kinds[kind] for kind in letters)
        if len(fields) != len(cls._fields):
            raise ValueError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(fields)}")
        return nb.BaseTuple.from_types(fields, cls)

    return tuple(map(type_of, arguments))


def numba_signature(role: str, number: Any) -> Any:
    """Numba's signature of a role, given Numba's type of the numbers."""
    from numba import types as nb

    takes, _, gives = ROLES[role].partition(":")
    return (nb.float64 if gives else nb.void)(*numba_types(takes, number))
