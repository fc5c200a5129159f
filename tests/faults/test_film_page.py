"""A film's page in a real browser: the slider, the play button and the keys."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from running import train

from mlpkit.cli.main import run as command

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
KEYS = """<script>
const log = [];
const say = () => log.push(`${shown.textContent} ${button.textContent}`);
const press = (key) => {
  document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  say();
};
say();
["ArrowLeft", "Home", "ArrowRight", "End", " ", " "].forEach(press);
button.click();
say();
setTimeout(() => { say(); document.title = log.join("; "); }, 2500);
</script></html>"""


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_slider_button_and_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("dataset=moons", "model=mlp", "model.hidden=[4]", "trainer.epochs=6", "run.film=2")
    folder = train(tmp_path, *settings, "run.loggers=[]", "run.plots=false")
    assert command(["film", str(folder.path), "--output", "film.html"]) == 0
    page = Path("film.html").read_text(encoding="utf-8")
    # The page's policy would stop the script of this test.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    Path("keys.html").write_text(page.replace("</html>", KEYS), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom")
    done = subprocess.run(
        [str(BROWSER), *options, f"file://{tmp_path}/keys.html"], capture_output=True, text=True, timeout=120
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    assert title[1].split("; ") == [
        "epoch 6 Play",
        "epoch 4 Play",
        "untrained Play",
        "epoch 2 Play",
        "epoch 6 Play",
        "untrained Pause",
        "untrained Play",
        "untrained Pause",
        "epoch 6 Play",
    ]
