"""Formulas that a visitor types, such as ``sin(3 * x) / 2``: read, checked, and never run as code.

The text is parsed into Python's syntax tree, of which only arithmetic on x and y, numbers and some
functions of NumPy are allowed; these nodes are computed one by one.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.app.panel import PanelError

LONGEST = 200  # characters
MOST_NODES = 100
LARGEST_NUMBER = 1e6
LARGEST_POWER = 20
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "cos": np.cos,
    "exp": np.exp,
    "log": np.log,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
CONSTANTS = {"pi": math.pi, "e": math.e}
OPERATIONS: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}

Numbers = NDArray[np.float64]


class Formula:
    """A formula of some variables.

    Parameters
    ----------
    text : str
        ``^`` is read as ``**``.
    variables : tuple of str

    Raises
    ------
    PanelError
        It is too long, cannot be read, or holds something that is not allowed.
    """

    def __init__(self, text: str, variables: tuple[str, ...] = ("x", "y")) -> None:
        if not isinstance(text, str) or not text.strip():
            raise PanelError(f"type a formula of {_listed(variables)}, such as sin(3*x)")
        if len(text) > LONGEST:
            raise PanelError(f"a formula may have {LONGEST} characters at most")
        self.variables = variables
        try:
            self._tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise PanelError(
                f"the formula {_short(text)} cannot be read; write it as sin(3*x)/2 + x**2"
            ) from None
        nodes = list(ast.walk(self._tree))
        if len(nodes) > MOST_NODES:
            raise PanelError("the formula is too long; leave some of its terms out")
        self._check(self._tree)

    def _check(self, node: ast.AST) -> None:
        match node:
            case ast.Constant(value=value):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise PanelError(f"{_short(repr(value))} is not a number")
                if abs(value) > LARGEST_NUMBER:
                    raise PanelError(f"numbers in a formula may be {LARGEST_NUMBER:g} at most")
            case ast.Name(id=name):
                if name not in self.variables and name not in CONSTANTS:
                    known = (*self.variables, *CONSTANTS)
                    raise PanelError(f"there is no {_short(name)} here; use {_listed(known)}")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                self._check(operand)
            case ast.BinOp(left=left, op=op, right=right):
                if type(op) not in OPERATIONS:
                    raise PanelError("a formula may have + - * / % and ** only")
                self._check(left)
                self._check(right)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                if name not in FUNCTIONS:
                    raise PanelError(
                        f"there is no function {_short(name)}; use {_listed(FUNCTIONS)}"
                    )
                self._check(argument)
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                raise PanelError(f"{name} takes one argument, as in {name}(x)")
            case _:
                raise PanelError(
                    f"a formula may have numbers, {_listed(self.variables)}, + - * / % ** and "
                    f"{_listed(FUNCTIONS)} only"
                )

    def __call__(self, **values: Numbers) -> Numbers:
        """Compute it.

        Parameters
        ----------
        **values : arrays of one shape
            Of the variables.

        Raises
        ------
        PanelError
            It is not a finite number somewhere; names the place.
        """
        shape = next(iter(values.values())).shape
        with np.errstate(all="ignore"):
            found = np.broadcast_to(np.asarray(self._value(self._tree, values)), shape)
        found = np.array(found, np.float64)
        bad = ~np.isfinite(found)
        if bad.any():
            at = int(bad.argmax())
            place = ", ".join(f"{name} = {one.ravel()[at]:.3g}" for name, one in values.items())
            raise PanelError(f"the formula is not a number at {place}")
        return found

    def _value(self, node: ast.AST, values: Mapping[str, Numbers]) -> Any:
        match node:
            case ast.Constant(value=value):
                return float(value)  # type: ignore[arg-type]
            case ast.Name(id=name):
                return values[name] if name in values else CONSTANTS[name]
            case ast.UnaryOp(op=op, operand=operand):
                value = self._value(operand, values)
                return -value if isinstance(op, ast.USub) else value
            case ast.BinOp(left=left, op=op, right=right):
                power = self._value(right, values)
                if isinstance(op, ast.Pow):
                    power = np.clip(power, -LARGEST_POWER, LARGEST_POWER)
                return OPERATIONS[type(op)](self._value(left, values), power)
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                return FUNCTIONS[name](self._value(argument, values))
        raise AssertionError(node)


def _listed(names: Any) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else str(last)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
