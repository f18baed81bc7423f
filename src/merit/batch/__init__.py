"""predict: score a table of any length by a package, in bounded memory, and go on where a killed run stopped.

`sources` finds and reads the input, `contract` says which rows may be scored, `scorer` scores a chunk of rows, `output`
keeps what is done, `local` and `on_ray` bring chunks to scorers, `job` is the whole.
"""
