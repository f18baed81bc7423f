"""MLflow: the store that keeps runs and versions, a package as a model of MLflow, and the provenance of a run."""
