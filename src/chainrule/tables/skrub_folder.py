"""Where skrub keeps data sets, which it decides when it is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

VARIABLES = ("SKB_DATA_DIRECTORY", "SKRUB_DATA_DIRECTORY")


def prepare_skrub() -> None:
    """Let skrub be imported where the home folder cannot be written.

    skrub makes a folder in the user's home when it is imported. We need nothing that it keeps
    there, so it gets a temporary folder where it could make none.
    """
    if "skrub" in sys.modules or any(os.environ.get(name) for name in VARIABLES):
        return
    try:
        (Path.home() / "skrub_data").mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home at all
        folder = tempfile.mkdtemp(prefix="chainrule-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[VARIABLES[0]] = folder
