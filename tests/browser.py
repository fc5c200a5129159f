"""Pages as a real browser shows them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def in_browser(port: int, path: str, folder: Path) -> str:
    """Return a page after its script has run, as a browser shows it."""
    if BROWSER is None:
        pytest.skip("needs a browser: chromium or google-chrome")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=10000", "--dump-dom", f"http://127.0.0.1:{port}{path}",
        ],
        capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    return done.stdout
