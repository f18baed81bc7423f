"""How a column is read: by one reader, as it is declared, in training, batches, streams and the endpoint alike.

`declaration` says how the cells of a column are written; `cells` turns a column as it came into its declared type and
says which cells can't be read; `numbers` and `times` read text; `inference` types columns that nobody declared;
`advice` says what to change. `textfile` reads files of text, in the `dialect` that a source declares, and `lines` holds
each line against the header.

Imports Polars and the standard library alone, and Polars only where a whole column is read: the endpoint's worker reads
JSON without it.
"""
