"""The README and the guide as tests read them."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
PAGES = sorted((PROJECT / "docs").rglob("*.md"))


def commands(page: Path) -> list[str]:
    """Return the lines of a page's `sh` blocks that run mlpkit, or write a file for it."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    return [line for block in blocks for line in block.splitlines() if "mlpkit " in line or " > " in line]
