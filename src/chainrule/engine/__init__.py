"""Everything that knows Numba or threads.

Begin with `compilation`: the roles that functions of the equations have, their signatures, and the
cache of machine code. `formulas`, `loops`, `rows`, `products` and `views` are the compiled
implementations of the functions in `equations.vecmath`; `board` and `threads` share work between
cores; `config` chooses the engine and the number of threads.
"""
