"""merit: a Git repository as the control plane of a machine-learning model.

The path, one word per stage, the same here, on the command line, in conf/ and in dvc.yaml:

    compose -> ingest -> validate -> features -> train -> evaluate -> package -> gate -> register -> serve

Imports run one way, cli -> rooms -> shared floor -> artifacts -> errors; rooms meet in the files that
`merit.artifacts` names.
"""

__version__ = "0.1.0"
