"""Read columns as they are declared, with one reader for training, batch, stream and endpoint.

`declaration` says how a column's cells are written; `cells` converts a raw column to its declared type and reports the
cells that can't be read; `numbers` and `times` parse text; `inference` infers the types of undeclared columns; `advice`
suggests what to change. `textfile` reads delimited text files in the `dialect` that a source declares, and `lines`
checks each line against the header.

Imports Polars and the standard library only, and Polars only where a whole column is read: the endpoint's worker parses
JSON without it.
"""
