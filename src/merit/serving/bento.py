"""Entry point of the Bento: adds the merit sources that the Bento contains to the import path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from merit.serving.service import Predictor  # importable only after the path is set

__all__ = ["Predictor"]
