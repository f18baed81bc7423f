"""Handwritten digits: the source of the reference model of images."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl


class Digits:
    """Handwritten digits of scikit-learn: 1,797 images from the UCI repository (Alpaydin and Kaynak 1998, CC BY 4.0).

    Columns: `image` [8, 8], the amount of ink per cell, 0 to 16; `digit`, 0 to 9.
    """

    SIDE = 8

    def files(self) -> list[Path]:
        """Return the data file in the installed package."""
        spec = importlib.util.find_spec("sklearn")
        if spec is None or not spec.submodule_search_locations:
            raise MeritError("data.source: scikit-learn is not installed; 'pip install scikit-learn'")
        return [Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"]

    def read(self) -> "pl.DataFrame":
        """Return the images."""
        import polars as pl

        values = pl.read_csv(self.files()[0], has_header=False).to_numpy()
        images = values[:, :-1].astype(float).reshape(-1, self.SIDE, self.SIDE)
        return pl.DataFrame({"image": images, "digit": values[:, -1].astype(int)})
