"""Batch prediction (`merit predict`): score a table of any length in bounded memory, and resume after an interruption.

`sources` opens and reads the input, `contract` validates rows, `scorer` scores one chunk of rows, `output` stores the
results, the engines `local` and `on_ray` distribute chunks to scorers, and `job` runs the whole batch.
"""
