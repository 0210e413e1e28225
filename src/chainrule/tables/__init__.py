"""Tables: read whole or in blocks, written, and what their columns are.

`read`, `blocks` and `writer` are what others use. Begin with `reading`; `opening` and `files` find
out what a file is, `csv`, `stores` and `values` read each format, `types` says what its cells are,
and `column_types` which type a column gets. `columns` gives each column a kind, `findings` and
`leaks` look for what is wrong, `mapped` makes memory maps of tables that are larger than memory,
`writing` writes.
"""

from chainrule.tables.reading import blocks, read, writer
from chainrule.tables.types import TableError

__all__ = ["TableError", "blocks", "read", "writer"]
