"""What `chainrule play` opens: an address of the page, a model file, or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from chainrule.app.reading import Scaling
    from chainrule.app.stored import StoredModel
    from chainrule.network.network import Network

LONGEST_LINK = 1 << 20  # characters


class Opening(NamedTuple):
    """What the page is opened with.

    Attributes
    ----------
    fragment : str, default ""
        What stands behind the # of the address.
    digits : (Network, Scaling), optional
        The network that reads digits, and what it takes for pixels. Default: one is trained.
    model : StoredModel, optional
        That "Your data" shows.
    table : (str, pandas.DataFrame), optional
        Its file's path, and what it holds.
    """

    fragment: str = ""
    digits: tuple[Network, Scaling] | None = None
    model: StoredModel | None = None
    table: tuple[str, pd.DataFrame] | None = None


def opening_of(what: str | None) -> Opening:
    """Open what the command was given.

    Parameters
    ----------
    what : str or None
        An address of the page, or a file: with such an address, a model, or a table.

    Raises
    ------
    ValueError, OSError, ImportError
        It is none of these, or cannot be read.
    """
    if what is None:
        return Opening()
    path = Path(what)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # longer than a path can be
        is_file = False
    if not is_file and "#" in what:
        return Opening(what.partition("#")[2])
    if not is_file:
        raise ValueError(f"there is no file {what}, and an address of the page has a #")
    if path.suffix.lower() == ".chainrule":
        return _opened_model(path)
    try:
        with path.open(encoding="utf-8") as file:
            found = file.read(LONGEST_LINK).split()
    except UnicodeDecodeError:
        found = []
    if len(found) == 1 and "#" in found[0]:
        return Opening(found[0].partition("#")[2])
    return Opening("data", table=(what, _table(path)))


def _table(path: Path) -> Any:
    from chainrule.app.own_data import read_table

    try:
        return read_table(path, path.name)
    except ValueError as error:
        raise ValueError(
            f"{path} is neither a .chainrule file, nor a text with an address of the page, nor a "
            f"table: {error}"
        ) from None


def _opened_model(path: Path) -> Opening:
    """A network that reads digits goes to the pad, any other model to "Your data"."""
    from chainrule.app.reading import digits_network
    from chainrule.app.stored import StoredModel
    from chainrule.digits.recipes import load as load_digits
    from chainrule.files.persistence import load, read_header

    model, header = load(path), read_header(path)
    found = digits_network(model, header, load_digits())
    if found is not None:
        return Opening("draw", digits=found)
    return Opening("data", model=StoredModel(path.name, model, header))
