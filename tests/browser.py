"""Pages as a real browser shows them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def in_browser(port: int, path: str, folder: Path) -> str:
    """Return a page after its script has run, as a browser shows it."""
    return _show(f"http://127.0.0.1:{port}{path}", folder)


def show_file(path: Path, folder: Path) -> str:
    """Return a page on the disk after its script has run, as a browser shows it."""
    return _show(path.resolve().as_uri(), folder)


def _show(address: str, folder: Path) -> str:
    if BROWSER is None:
        pytest.skip("needs a browser: chromium or google-chrome")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=10000", "--dump-dom", address,
        ],
        capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    return done.stdout
