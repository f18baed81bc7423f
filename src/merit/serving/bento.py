"""The Bento's entry. Inside a Bento the library travels as source; this puts it on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from merit.serving.service import Predictor  # only now can it be found

__all__ = ["Predictor"]
