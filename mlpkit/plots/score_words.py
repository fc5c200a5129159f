"""What pictures and reports call scores."""

_WORDS = {"r2": "R²", "lr": "learning rate", "grad_norm": "gradient norm"}


def score_words(name: str) -> str:
    """Return a score's name as it is printed: R² for r2."""
    return _WORDS.get(name, name)
