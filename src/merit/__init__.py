"""merit: a Git repository as the control plane of a machine-learning model.

The stages of the path have the same names in the code, on the command line, in conf/ and in dvc.yaml:

    compose -> ingest -> validate -> features -> train -> evaluate -> package -> gate -> register -> serve

Imports go one way: cli -> stage packages -> shared packages -> artifacts -> errors. Stage packages don't import one
another; they exchange the files that `merit.artifacts` names.
"""

__version__ = "0.1.0"
