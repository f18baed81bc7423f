"""A rehearsal of the workflows: their own `run:` steps, in clean clones, against a forge that lives on loopback.

What it knows of GitHub Actions is what the workflows here use. Anything else (a key, an action, a function, a context)
raises `UnknownError`, for a step that was skipped in silence would be a step that was never tried.
"""


class UnknownError(Exception):
    """A workflow uses something that the rehearsal doesn't know."""
