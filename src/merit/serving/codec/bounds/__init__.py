"""Limits the decoded size of a table, computed from its metadata before anything is decoded.

A Parquet page or an Arrow buffer declares how many bytes and values it expands to; a few bytes can declare billions.
Metadata that understates the size is caught by the memory and CPU limits of the decoding process.

    budget      counts bytes against a limit
    parquet     sizes of Parquet pages
    arrow       sizes of Arrow IPC messages
"""
