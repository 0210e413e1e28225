"""Everything that knows Numba or threads.

Begin with `roles`, which says what arguments compiled functions take, and `compilation`, which
compiles them; `linking` gives each its own copies of its helpers, and `codecache` keeps machine
code on the disk. `formulas`, `loops`, `rows`, `products` and `views` are the compiled
implementations of the functions in `equations.vecmath`;
`work_queue` deals items to worker threads, which `threads` starts and ends; `config` chooses the
engine and the number of threads.
"""
