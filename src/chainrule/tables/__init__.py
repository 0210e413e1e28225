"""Tables: read whole or in blocks, written, and what their columns are.

`read`, `blocks` and `writer` are what others use.
"""

from chainrule.tables.reading import blocks, read, writer
from chainrule.tables.types import TableError

__all__ = ["TableError", "blocks", "read", "writer"]
