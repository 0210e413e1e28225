"""The BLAS libraries that are loaded, and which of their kernels multiply on this processor.

The last bits of a product depend on the kernels.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from typing import Any

from chainrule.base.validation import warn_user


@functools.lru_cache(maxsize=1)
def controller(modules: int) -> Any:
    """What can set the threads of the BLAS libraries that are loaded; finding them takes long.

    `modules` is how many modules there are: any new one may have brought a BLAS of its own, as
    several parts of SciPy do.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas_kernels() -> list[str]:
    """The BLAS libraries that are loaded, and which kernels each chose for this processor."""
    found = controller(len(sys.modules)).info()
    keys = ("internal_api", "version", "architecture")
    return sorted({" ".join(str(one[key]) for key in keys if one.get(key)) for one in found})


def warn_of_kernels(
    path: str | os.PathLike[str], told: Iterable[str], here: Iterable[str], effect: str
) -> None:
    """Warn if a file was written where products have other last bits.

    Parameters
    ----------
    path : str or path
    told, here : iterables of str
        What `blas_kernels` gave when the file was written, and gives now. That other packages
        have brought more of them is no difference.
    effect : str
        What follows, for the end of the message.
    """
    before, now = set(told), set(here)
    if not (before <= now or now <= before):
        warn_user(
            f"{os.fspath(path)} was written with other BLAS kernels ({', '.join(sorted(before))}; "
            f"here {', '.join(sorted(now))}): {effect}"
        )
