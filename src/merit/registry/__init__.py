"""Model versions: registration, signatures, listing, history, and their projection into MLflow."""
