"""The code of the README runs."""

import re
from pathlib import Path

import numpy as np
from programs import perceptron

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    perceptron(rng).write(tmp_path / "model.bnn")
    monkeypatch.chdir(tmp_path)
    names = {"images": rng.integers(0, 256, (4, 1, 5, 7)).astype(np.uint8)}
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    assert names["classes"].shape == names["doubt"].shape == (4,)
    assert "plane_linear" in capsys.readouterr().out


def test_the_readme_names_what_a_model_has():
    from bnnlab_runtime import Model

    table = README.read_text().partition("| `model.` |")[2].partition("\n\n")[0]
    named = {*re.findall(r"`(\w+)(?:\(images\))?`", table)} - {"total", "aleatoric", "epistemic"}
    public = {name for name in vars(Model) if not name.startswith("_")}
    assert public <= named
    attributes = re.findall(r"^        (\w+): ", Model.__doc__ or "", re.MULTILINE)
    assert {*attributes} <= named
