"""The code of docs/guide/python.md, run as a notebook by a real Jupyter kernel."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "python.md"


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's packages
def test_the_page_runs_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tmp_path / "data/kernels/python3"  # of this environment, whatever is installed elsewhere
    kernel.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernel / "kernel.json").write_text(f'{{"argv": {command}, "display_name": "x", "language": "python"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(block) for block in blocks])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = []
    for cell in notebook.cells:
        assert [output["output_type"] for output in cell["outputs"]] in ([], ["execute_result"])
        shown += [output["data"].get("text/html", output["data"]["text/plain"]) for output in cell["outputs"]]
    trained, _, by_name, torch, compared, runs = shown
    assert "<th>accuracy</th>" in trained and trained.count("<img") >= 3
    assert by_name == "array(['upper', 'upper'], dtype='<U5')" or by_name.startswith("array([")
    assert "SigmoidBackward0" in torch
    assert "<td>0.01</td>" in compared and runs.count("<tr>") == 12
