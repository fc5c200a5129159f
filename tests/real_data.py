"""Where MNIST and Fashion-MNIST lie, for the tests that read them."""

import os
from pathlib import Path

import pytest


def real_data() -> Path | None:
    """Return the folder in torchvision's layout: $MLPKIT_DATA or ../shared/data; None: neither has it."""
    named = os.environ.get("MLPKIT_DATA")
    places = [Path(named)] if named else []
    places.append(Path(__file__).resolve().parents[2] / "shared" / "data")
    sets = ("MNIST", "FashionMNIST")
    return next((place for place in places if all((place / s / "raw").is_dir() for s in sets)), None)


needs_real_data = pytest.mark.skipif(
    real_data() is None, reason="no MNIST and FashionMNIST in $MLPKIT_DATA or ../shared/data"
)
