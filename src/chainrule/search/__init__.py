"""A search for good settings of a network for a table: :func:`chainrule.tune`.

Begin with :mod:`~chainrule.search.tuning`, which says in which order things happen.
:mod:`~chainrule.search.spaces` says which settings are tried, :mod:`~chainrule.search.trials` what
one trial does, :mod:`~chainrule.search.study` where trials are kept,
:mod:`~chainrule.search.workers` how many processes share them, and
:mod:`~chainrule.search.comparing` whether the search has paid.
"""
