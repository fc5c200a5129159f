"""What all HTML pages have in common: colours and fonts, in light and dark, and what a browser may run."""

import base64
import hashlib
from pathlib import Path

_COMMON = (Path(__file__).parent / "web_page.css").read_text(encoding="utf-8")


def style_sheet(own: Path) -> str:
    """Return the style sheet of a page: what all pages have in common, then its own."""
    return _COMMON + own.read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """Return a script or a style sheet as a Content-Security-Policy names it: the browser takes no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
