"""The state of a run: all that steps change, with one way to copy, restore and store it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from chainrule.base.types import Array
from chainrule.equations.optimizers import Optimizer
from chainrule.network.network import Network

# Names of a state's attributes: what predictions depend on, and what steps change.
LEARNED = ("theta", "constants", "average")
STEPPED = (*LEARNED, "memory", "t")
# What a later run needs beside t to go on to the same bits, in the order of model files.
STORED = ("theta", "constants", "memory", "average", "hyper")

# Copies of a state's attributes, by name.
Copies: TypeAlias = dict[str, Any]


class RunState:
    """The state of a run of steps on a network.

    Parameters
    ----------
    network : Network
        Its theta and its constants are changed in place.
    optimizer : Optimizer
    hyper : float64 array
        The optimiser's numbers, in its order.
    averages : bool, default False
        Whether a running average of theta is kept.

    Attributes
    ----------
    theta, constants : arrays
        The network's own.
    memory : (slots P,) array
        The optimiser's memory, slice by slice of theta, zeros at the start.
    average : (P,) array
        Running average of theta; empty if none is kept.
    t : int
        Steps taken.
    """

    def __init__(
        self, network: Network, optimizer: Optimizer, hyper: Array, averages: bool = False
    ) -> None:
        self.network, self.optimizer, self.hyper = network, optimizer, hyper
        self.memory: Array = np.zeros(optimizer.slots * network.theta.size, network.dtype)
        self.average: Array = network.theta.copy() if averages else network.theta[:0]
        self.t = 0

    @property
    def theta(self) -> Array:
        """The parameters, (P,)."""
        return self.network.theta

    @property
    def constants(self) -> Array:
        """The constants of the network's layers, float64."""
        return self.network.constants

    def copy(self, names: Sequence[str] = STEPPED, into: Copies | None = None) -> Copies:
        """Copies of some of the attributes, to go back to with :meth:`restore`.

        Parameters
        ----------
        names : sequence of str, default STEPPED
        into : dict, optional
            Earlier copies of the same attributes, whose memory is used again.
        """
        copies = {} if into is None else into
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, np.ndarray):
                copies[name] = value
            elif name in copies:
                copies[name][...] = value
            else:
                copies[name] = value.copy()
        return copies

    def restore(self, copies: Copies) -> None:
        """Go back to what :meth:`copy` gave; attributes that it does not hold stay as they are.

        Raises
        ------
        ValueError
            An array has another shape or dtype than the state's; nothing is changed then.
        """
        for name, value in copies.items():
            array = getattr(self, name)
            if isinstance(array, np.ndarray) and (array.shape, array.dtype) != (
                value.shape,
                value.dtype,
            ):
                raise ValueError(
                    f"{name} has the shape {array.shape} and the dtype {array.dtype}, not "
                    f"{value.shape} and {value.dtype}"
                )
        for name, value in copies.items():
            if isinstance(value, np.ndarray):
                getattr(self, name)[...] = value
            else:
                setattr(self, name, value)

    def stored(self) -> tuple[int, list[Array]]:
        """Copies of the whole state, as files hold it: t and the arrays of STORED."""
        copies = self.copy(STORED)
        return self.t, [copies[name] for name in STORED]

    def restore_stored(self, stored: tuple[int, list[Array]]) -> None:
        """Go back to what :meth:`stored` gave.

        Raises
        ------
        ValueError
            It is the state of another network or optimiser; nothing is changed then.
        """
        t, arrays = stored
        if len(arrays) != len(STORED):
            raise ValueError(f"there are {len(arrays)} arrays, not {len(STORED)}")
        self.restore({**dict(zip(STORED, arrays, strict=True)), "t": t})

    @contextmanager
    def averaged(self) -> Iterator[Network]:
        """The network, meanwhile with the average as its parameters, if one is kept."""
        if not self.average.size:
            yield self.network
            return
        kept = self.copy(("theta",))
        self.theta[:] = self.average
        try:
            yield self.network
        finally:
            self.restore(kept)


class StateKeeper:
    """Whoever changes a state epoch by epoch, and can go back to where an epoch began.

    Parameters
    ----------
    state : RunState

    Attributes
    ----------
    state : RunState
    complete : bool
        Whether the epoch that began with :meth:`keep` was completed.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.complete = True
        self._kept: Copies | None = None

    def keep(self) -> None:
        """Copy the state, to go back to if the epoch that begins is not completed."""
        self._kept = self.state.copy(into=self._kept)
        self.complete = False

    def restore(self) -> None:
        """Go back to the state last kept."""
        assert self._kept is not None
        self.state.restore(self._kept)

    def restore_incomplete(self) -> None:
        """Go back if an epoch was left half done."""
        if not self.complete:
            self.restore()
