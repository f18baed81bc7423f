"""The Bento's entry. Inside a Bento the library travels as source; this puts it on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from merit.errors import MeritError  # only now can it be found

try:
    from merit.serving.service import Predictor
except MeritError as error:
    sys.exit(f"error: {error}")

__all__ = ["Predictor"]
