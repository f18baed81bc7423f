"""Answers: from columns or a body to predictions, and where they come from."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Columns, Package
from merit.serving.app.rows import Rows


class Answers:
    """Answers requests from a package.

    Args:
        package: the model.
        version: its version in the registry; its digest where it has none.
        max_rows: rows that one request may have.
    """

    def __init__(self, package: Package, version: str, max_rows: int) -> None:
        self.package = package
        self.rows = Rows(package, max_rows)
        self.classes: list[Any] | None = package.output.get("classes")
        self.origin: dict[str, str] = {
            "model": package.manifest["model"],
            "version": version,
            "commit": package.commit,
        }
        self._tail = b"," + msgspec.json.encode(self.origin)[1:]

    def answer(self, body: bytes) -> dict[str, Any]:
        """Return `predictions`, one per row in their order, and where they come from.

        Of a binary task each is a probability, of a regression a number, of a multiclass task the likeliest class,
        with the `probabilities` of all `classes`.

        Raises:
            BadRows: the request can't be answered as it is.
        """
        return self.content(self.score(self.rows.columns(body)))

    def score(self, columns: Columns) -> NDArray[np.float32]:
        """Return the prediction of each row, float32 [rows], or [rows, classes] for a multiclass task."""
        return self.package.predict(columns)

    def content(self, found: NDArray[np.float32]) -> dict[str, Any]:
        """Return what an answer says of the predictions that `score` has found."""
        if self.classes is None:
            return {"predictions": found.tolist(), **self.origin}
        probabilities = {"classes": self.classes, "probabilities": found.tolist()}
        return {"predictions": self.guesses(found), **probabilities, **self.origin}

    def guesses(self, found: NDArray[np.float32]) -> list[Any]:
        """Return the likeliest class of each row."""
        assert self.classes is not None
        return [self.classes[place] for place in found.argmax(axis=1)]

    def encoded(self, found: NDArray[np.float32]) -> bytes:
        """Return `content` as JSON."""
        if self.classes is None:
            return b'{"predictions":' + msgspec.json.encode(found.tolist()) + self._tail
        return msgspec.json.encode(self.content(found))
