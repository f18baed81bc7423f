"""The parts of the prediction log.

`link` queues entries in a serving worker and sends them (`wire`) to a separate process, `writer`. There `keeper`
buffers them, `tables` and `truths` build tables, `privacy` removes or hashes columns, and `files` writes Parquet.
"""
