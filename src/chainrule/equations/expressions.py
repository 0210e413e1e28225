"""Expressions: what an activation's formula is written in, so that programs can be made of it.

A formula is a function of an :class:`Expression`, z, to another, made with Python's arithmetic and
the functions below. Every exported format writes it in its own language:

>>> from chainrule import expressions
>>> def silu(z):
...     return z * expressions.logistic(z)
>>> silu(expressions.Z)
(z * logistic(z))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.equations import vecmath

ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "greater": ">"}
FUNCTIONS = (
    *("exp", "expm1", "log", "log1p", "sqrt", "tanh", "erf", "absolute"),
    *("logistic", "softplus", "maximum", "minimum", "where", "softmax"),
)


class Expression:
    """An operation on other expressions; z, or a number.

    Parameters
    ----------
    operation : str
        "z", "number", or one of `ARITHMETIC` and `FUNCTIONS`.
    *parts : Expression or float
        What it is applied to; the number of a "number".
    """

    __slots__ = ("operation", "parts")

    def __init__(self, operation: str, *parts: Any) -> None:
        self.operation = operation
        self.parts: tuple[Any, ...] = parts

    def __add__(self, other: Any) -> Expression:
        return _made("add", self, other)

    def __radd__(self, other: Any) -> Expression:
        return _made("add", other, self)

    def __sub__(self, other: Any) -> Expression:
        return _made("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return _made("subtract", other, self)

    def __mul__(self, other: Any) -> Expression:
        return _made("multiply", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return _made("multiply", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return _made("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return _made("divide", other, self)

    def __neg__(self) -> Expression:
        return _made("subtract", 0, self)

    def __gt__(self, other: Any) -> Expression:
        return _made("greater", self, other)

    def __lt__(self, other: Any) -> Expression:
        return _made("greater", other, self)

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value; use where(condition, a, b)")

    def __repr__(self) -> str:
        return written(self, {})

    def walk(self) -> Iterator[Expression]:
        """Every expression in this one, parts before wholes."""
        for part in self.parts:
            if isinstance(part, Expression):
                yield from part.walk()
        yield self

    @property
    def operations(self) -> set[str]:
        """Names of the operations that occur."""
        return {one.operation for one in self.walk()} - {"z", "number"}


Formula = Callable[[Expression], Expression]
Z = Expression("z")


def _made(operation: str, *parts: Any) -> Expression:
    return Expression(operation, *(_expression(part) for part in parts))


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a formula takes numbers and expressions, not {value!r}")
    return Expression("number", float(value))


def exp(x: Any) -> Expression:
    """e^x."""
    return _made("exp", x)


def expm1(x: Any) -> Expression:
    """e^x - 1, exact near 0."""
    return _made("expm1", x)


def log(x: Any) -> Expression:
    """Natural logarithm."""
    return _made("log", x)


def log1p(x: Any) -> Expression:
    """log(1 + x), exact near 0."""
    return _made("log1p", x)


def sqrt(x: Any) -> Expression:
    """√x."""
    return _made("sqrt", x)


def tanh(x: Any) -> Expression:
    """Hyperbolic tangent."""
    return _made("tanh", x)


def erf(x: Any) -> Expression:
    """Error function."""
    return _made("erf", x)


def absolute(x: Any) -> Expression:
    """|x|."""
    return _made("absolute", x)


def logistic(x: Any) -> Expression:
    """1 / (1 + e^-x), without overflow."""
    return _made("logistic", x)


def softplus(x: Any) -> Expression:
    """log(1 + e^x), without overflow."""
    return _made("softplus", x)


def maximum(a: Any, b: Any) -> Expression:
    """The larger of two."""
    return _made("maximum", a, b)


def minimum(a: Any, b: Any) -> Expression:
    """The smaller of two."""
    return _made("minimum", a, b)


def where(condition: Any, a: Any, b: Any) -> Expression:
    """The second where the condition, such as ``z > 0``, holds; else the third."""
    if not isinstance(condition, Expression) or condition.operation != "greater":
        raise TypeError("where takes a comparison such as z > 0")
    return _made("where", condition, a, b)


def softmax(z: Any) -> Expression:
    """e^z over its sum in a row, without overflow; it can only be the whole of a formula, of z."""
    return _made("softmax", z)


def formula_of(activation: Any) -> Expression:
    """An activation's formula as an expression of z.

    Parameters
    ----------
    activation : Activation

    Raises
    ------
    ValueError
        It has no formula, or one that is not made of what this module has.
    """
    name = activation.name
    if activation.formula is None:
        raise ValueError(
            f"the activation {name!r} has no formula, so no program can be made of it; give it "
            "one: Activation(name, f, pullback, formula=...), see chainrule.expressions"
        )
    made = _expressed(activation.formula, f"the formula of the activation {name!r}")
    for one in made.walk():
        if one.operation == "softmax" and not (one is made and one.parts[0].operation == "z"):
            raise ValueError(
                f"the formula of the activation {name!r} holds softmax beside other operations; "
                "softmax(z) can only be the whole of it"
            )
    return made


def deviation_of(loss: Any) -> Expression | None:
    """The standard deviation that a loss's last outputs stand for, as an expression of them.

    Parameters
    ----------
    loss : Loss

    Returns
    -------
    Expression, or None if no deviation is predicted

    Raises
    ------
    ValueError
        Its formula is not made of what this module has, or takes more than one number.
    """
    if loss.deviation is None:
        return None
    what = f"the deviation of the loss {loss.name!r}"
    made = _expressed(loss.deviation, what)
    if "softmax" in made.operations:
        raise ValueError(f"{what} holds softmax, which takes more than one number")
    return made


def _expressed(formula: Formula, what: str) -> Expression:
    try:
        return _expression(formula(Z))
    except Exception as error:
        raise ValueError(
            f"{what} is not made of what chainrule.expressions has "
            f"({type(error).__name__}: {error})"
        ) from error


def _written_into(function: Callable[[Array, Array], None]) -> Callable[[Array], Array]:
    def applied(x: Array) -> Array:
        out = np.empty_like(x)
        function(x, out)
        return out

    return applied


_VALUES: dict[str, Callable[..., Array]] = {
    **{name: getattr(np, name) for name in ARITHMETIC},
    **{name: getattr(np, name) for name in FUNCTIONS if hasattr(np, name)},
    **{name: _written_into(getattr(vecmath, name)) for name in ("erf", "logistic", "softplus")},
}


def value(expression: Expression, z: Array) -> Array:
    """What an expression is at the numbers z, elementwise: any but softmax.

    Parameters
    ----------
    expression : Expression
    z : array of float32 or float64

    Returns
    -------
    array of z's shape and dtype
    """
    if expression.operation == "z":
        return z
    if expression.operation == "number":
        return np.full_like(z, expression.parts[0])
    return _VALUES[expression.operation](*(value(part, z) for part in expression.parts))


def written(
    expression: Expression,
    words: dict[str, str],
    number: Callable[[float], str] = repr,
) -> str:
    """An expression in a language.

    Parameters
    ----------
    expression : Expression
    words : dict of str to str
        A template for each operation that is not written as Python writes it: "np.exp({})".
    number : callable (float) -> str
        Writes a number.
    """
    operation, parts = expression.operation, expression.parts
    if operation == "z":
        return "z"
    if operation == "number":
        return number(parts[0])
    if operation not in ARITHMETIC and operation not in FUNCTIONS:
        raise ValueError(f"{operation!r} is no operation of chainrule.equations.expressions")
    texts = [written(part, words, number) for part in parts]
    if operation in words:
        return words[operation].format(*texts)
    if operation in ARITHMETIC:
        return f"({texts[0]} {ARITHMETIC[operation]} {texts[1]})"
    return f"{operation}({', '.join(texts)})"
