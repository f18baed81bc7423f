"""Components: the classes that a `_target_` may name, checked from source before any is imported."""
