"""What goes on inside a network, shown: traces, findings, summaries, pictures.

Begin with :mod:`chainrule.explain.tracing`, which puts the numbers of one batch into the four
equations, and :mod:`chainrule.explain.diagnosing`, which says what is wrong with a training.
Nothing here trains; the equations that compute are those of :mod:`chainrule.equations.backprop`.
"""
