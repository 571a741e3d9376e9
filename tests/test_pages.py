"""Every block of code and every `bnn` line of the documents runs: short, and on small data."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_data
import tomli
import torch
from engines import Here
from pages import ROOT, Block, blocks, commands, installed, name, read

from bnnlab.cli import main
from bnnlab.registry.host import PluginHost
from bnnlab_vision import datasets
from bnnlab_vision.contracts import write_emnist, write_features, write_images

pytestmark = pytest.mark.slow

NOT_RUN = {
    r"demo": "20 s; the tests of plugins/demo run it",
    r"docs": "opens a browser; the tests of plugins/docs run it",
    r"uninstall |install .*--find-links": "changes the environment, or needs wheels",
    r"new-plugin|test-plugin|.*\b(sparrow|signbp)\b": "plugins/scaffold/tests make and install one",
    r".* --recipe (vit/imgnet-5|dfa/imagenette)": "needs an archive of images, and hours",
    r".* --recipe \S+ .*--short": "minutes; test_recipe_runs.py runs each recipe for two steps",
    r".*(--engine ray|engine.address)": "needs a cluster; the tests of plugins/ray start one",
    r".*track.wandb.project": "needs an account; the tests of plugins/wandb have a server",
    r".*track.tensorboard.folder=/shared": "needs a folder that machines share",
    r"reproduce ": "minutes or hours; the tests of plugins/claims measure a small one",
    r"tune ": "minutes; the tests of plugins/optuna run it",
    r"extract-features": "downloads weights; the tests of plugins/vision write such a file",
    r".*--schedule multistep": "is refused for the one epoch of these tests; test_policies.py",
    r"export .*--to q?onnx": "needs ONNX Runtime; the tests of plugins/export make such graphs",
    r"sweep docs/results/": "hours; test_results.py resolves each, and carries out parts",
}
"""What is not run here, and why."""

CODES = {"check --optimizer meta --set model.weights=real": 1}
"""Exit codes other than 0: the page says so."""

ELSEWHERE = {
    "runtime/README.md": "the tests of the runtime run it",
    "docs/own.md": "test_docs.py runs it, and looks at what it finds",
    **{name(page): "test_plugin_pages.py" for page in ROOT.glob("docs/plugins/*.md")},
}
"""Pages whose Python code other tests run."""

SMALL = ["--epochs", "1", "--set", "stream.tasks=2", "--set", "model.hidden=[16]", "--quiet"]
EVERYTHING = ["--uncertainty", "--diagnose", "--probe", "confusion"]
RATES = "[sweep]\nseeds = 2\n[sweep.grid]\noptimizer.lr = [0.01, 0.001]\n"
DEFAULTS = """
[defaults]
epochs = 1
model = { name = "mlp", hidden = [16] }
stream = { name = "permuted-digits", tasks = 2 }
"""


def short(words: list[str]) -> list[str]:
    """Return a command that does the same in one epoch, with two seeds or none."""
    line = shlex.join(words)
    if words[0] == "install":
        return [*words, "--dry-run"]
    line = re.sub(r" --(data|epochs|jobs) \S+", "", line)
    line = re.sub(r" --seeds \S+", " --seeds 0,1", line)
    line = re.sub(r"image_size=\d+", "image_size=16", line)
    line = re.sub(r"--optimizer ewc", r"\g<0> --set optimizer.fisher_samples=20", line)
    line = line.replace("RULE", "bp").replace("OPTIMIZER", "ewc")
    if words[0] == "run":
        line += " --epochs 1 --quiet"
    if words[0] == "sweep" and ".toml" in line:
        line += " --set epochs=1"
    return shlex.split(line)


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Leave 200 of the digits for training and 100 for test; studies are carried out here."""
    read_all = datasets._read_digits

    def read_few() -> list[torch.Tensor]:
        return [part[:few] for part, few in zip(read_all(), (200, 200, 100, 100), strict=True)]

    patch.setattr(datasets, "_read_digits", read_few)
    patch.setattr("bnnlab_studies.commands.sweep.make_engine", lambda *_: Here())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the data, runs and studies that pages name."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_small(patch)
        small_data.write_mnist(folder / "data")
        small_data.write_cifar10(folder / "data", patch)
        write_emnist(folder / "data")
        write_features(folder / "data/cifar10.npz", classes=10)
        for seed, part in enumerate(("train", "val")):
            write_images(folder / "data/imagenette2-320" / part, "abcdefghij", 4, seed)
        for each in ("NAME", "OTHER"):
            assert main(["run", *SMALL, *EVERYTHING, "--name", each]) == 0
        for each in ("adam", "meta"):
            assert main(["run", *SMALL, "--optimizer", each, "--seeds", "2", "--name", each]) == 0
        (folder / "rates.toml").write_text(RATES)
        assert main(["sweep", "rates.toml", *SMALL[2:], "--set", "epochs=1"]) == 0
        for study in ("meta", "tune"):  # where `bnn tune` writes the best settings
            (folder / "runs" / study).mkdir(exist_ok=True)
            (folder / "runs" / study / "best.toml").write_text('optimizer = "meta"\n')
        yield folder


@pytest.fixture
def folder(
    prepared: Path, tmp_path: Path, user_config: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a copy of that folder, the working directory, where runs are small by default."""
    here = Path(shutil.copytree(prepared, tmp_path / "here", ignore=lambda *_: ["data"]))
    (user_config / "registry.toml").write_text(DEFAULTS)
    monkeypatch.chdir(here)
    monkeypatch.setenv("BNNLAB_DATA", str(prepared / "data"))
    make_small(monkeypatch)
    return here


def run_commands(block: Block, bnn: Callable[..., Any]) -> None:
    for words in commands(block):
        line = shlex.join(words)
        if any(re.match(f"({pattern})", line) for pattern in NOT_RUN):
            continue
        made = re.search(r"--name (\S+)|^sweep (\S+)\.toml", line)
        if made:  # the page makes it itself
            shutil.rmtree(Path("runs", made[1] or made[2]), ignore_errors=True)
        answer = bnn(*short(words))
        assert answer.code == CODES.get(line, 0), f"bnn {line}: {answer.err}"


WITH_CODE = [page for page in installed(PluginHost()) if blocks(read(name(page)))]


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_every_block_of_a_page_runs(page: Path, folder: Path, bnn: Callable[..., Any]) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(read(name(page))):
        if block.language == "toml":
            tomli.loads(block.text)
        if block.language == "toml" and block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            text = re.sub(r"^seeds = .*$", "seeds = [0, 1]", block.text, flags=re.MULTILINE)
            (folder / block.file).write_text(text)
        if block.language == "python" and name(page) not in ELSEWHERE:
            with torch.random.fork_rng(devices=[]):
                exec(compile(block.text, name(page), "exec"), scope)
        if name(page) != "docs/own.md":
            run_commands(block, bnn)


@pytest.mark.usefixtures("folder")
def test_the_notebook_runs() -> None:
    notebook = json.loads((ROOT / "docs" / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    scope: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), scope)
        assert cell["outputs"] == []
    assert len(cells) > 3
