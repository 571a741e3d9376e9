import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w

from bnnlab import PluginHost, UsageError
from bnnlab_studies.cells import file_name
from bnnlab_studies.plan import Plan, make_plan
from bnnlab_studies.sweep_file import seeds_of

Planned = Callable[..., Plan]

BASE = """
rule = "bp"
stream = { name = "permuted-digits", tasks = 2 }
"""


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.fixture
def planned(host: PluginHost, tmp_path: Path) -> Planned:
    """Return what plans a sweep file of this content, below the settings of a run."""

    def plan(content: str, **spoken: Any) -> Plan:
        file = tmp_path / "rates.toml"
        file.write_text(BASE + content)
        return make_plan(host, file, {"out": str(tmp_path / "runs"), **spoken})

    return plan


def values(plan: Plan, kind: str, option: str) -> list[Any]:
    return [cell.settings[kind][option] for cell in plan.cells]


def test_settings_that_do_not_go_together_are_refused_with_their_cells(planned: Planned) -> None:
    grid = """
[sweep.grid]
schedule = ["constant", "step"]
schedule_gamma = [0.1, 0.5]
"""
    with pytest.raises(UsageError, match="schedule_gamma is for") as caught:
        planned(grid)
    assert str(caught.value).startswith("cell 'schedule=constant, schedule_gamma=0.5': ")


def test_cells_know_what_is_checked_once_they_are_made(planned: Planned) -> None:
    plan = planned('[sweep.grid]\nkeep = ["last", "best"]')
    last, best = plan.cells
    assert not last.later
    assert [(str(each), each.of) for each in best.later] == [
        ("keep: a validation part of each task", ("keep", "stream"))
    ]


GRID = """
optimizer = "meta"
[sweep]
seeds = 2
[sweep.grid]
optimizer.lr = [0.1, 0.01]
"optimizer.m" = [1.0, 5.0]
"""
ALL = """
optimizer.lr = 0.5
epochs = 7
[[sweep.cell]]
name = "one"
optimizer = { name = "adam", lr = 0.4 }
[[sweep.cell]]
name = "a/b"
optimizer = "meta"
epochs = 3
[sweep.zip]
batch_size = [10, 20]
optimizer.lr = [0.1, 0.2]
[sweep.grid]
model.hidden = [[16], [8, 8]]
[[table]]
columns = [{ heading = "row" }]
"""


def test_what_an_optimizer_goes_around_is_swept_and_written_again(
    planned: Planned, host: PluginHost
) -> None:
    plan = planned("""
optimizer = { name = "ewc", base = { name = "meta", lr = 0.5 } }
[sweep.grid]
optimizer.base.m = [1.0, 5.0]
[sweep.zip]
"optimizer.strength" = [1.0, 2.0]
optimizer.base.lr = [0.1, 0.2]
""")
    bases = [cell.settings["optimizer"]["base"] for cell in plan.cells]
    assert [(each["lr"], each["m"]) for each in bases] == [
        (0.1, 1.0), (0.1, 5.0), (0.2, 1.0), (0.2, 5.0),
    ]  # fmt: skip
    assert (
        plan.cells[0].name == "optimizer.strength=1.0, optimizer.base.lr=0.1, optimizer.base.m=1.0"
    )
    plan.folder.mkdir(parents=True)
    (plan.folder / "study.toml").write_text(tomli_w.dumps(plan.as_toml()))
    again = make_plan(host, plan.folder)
    assert [cell.digest for cell in again.cells] == [cell.digest for cell in plan.cells]


def test_a_grid_is_every_combination_and_the_file_names_the_folder(planned: Planned) -> None:
    plan = planned(GRID)
    assert plan.folder.name == "rates"
    assert [cell.name for cell in plan.cells] == [
        "optimizer.lr=0.1, optimizer.m=1.0",
        "optimizer.lr=0.1, optimizer.m=5.0",
        "optimizer.lr=0.01, optimizer.m=1.0",
        "optimizer.lr=0.01, optimizer.m=5.0",
    ]
    assert values(plan, "optimizer", "lr") == [0.1, 0.1, 0.01, 0.01]
    jobs = plan.jobs(threads=3)
    assert [job.settings["seed"] for job in jobs] == [0] * 4 + [1] * 4
    assert jobs[5].folder == plan.folder / "optimizer.lr=0.1-optimizer.m=5.0" / "seed-1"


def test_cells_are_combined_and_the_later_place_is_stronger(planned: Planned) -> None:
    plan = planned(ALL, epochs=9)
    assert len(plan.cells) == 8
    assert plan.cells[0].name == "one, batch_size=10, optimizer.lr=0.1, model.hidden=[16]"
    assert values(plan, "optimizer", "lr") == [0.1, 0.1, 0.2, 0.2] * 2
    assert {cell.settings["epochs"] for cell in plan.cells} == {9}
    assert [cell.settings["epochs"] for cell in planned(ALL).cells] == [7] * 4 + [3] * 4
    assert plan.cells[4].folder == "a-b-batch_size=10-optimizer.lr=0.1-model.hidden=16"


def test_folders_keep_the_signs_of_numbers(planned: Planned) -> None:
    lrs = planned("[sweep.grid]\noptimizer.lr = [1e20, 1e-20]")
    assert [cell.folder for cell in lrs.cells] == ["optimizer.lr=1e20", "optimizer.lr=1e-20"]
    assert file_name("x=[1, -2]") == "x=1--2"


@pytest.mark.parametrize("content", [GRID, ALL, "[sweep]\nseeds = [3, 1]"])
def test_a_plan_says_itself_again_with_all_its_settings(planned: Planned, content: str) -> None:
    plan = planned(content, engine={"jobs": 3})
    (plan.folder).mkdir(parents=True)
    text = tomli_w.dumps(plan.as_toml())
    (plan.folder / "study.toml").write_text(text)
    again = make_plan(PluginHost(), plan.folder)
    assert [cell.name for cell in again.cells] == [cell.name for cell in plan.cells]
    assert [cell.digest for cell in again.cells] == [cell.digest for cell in plan.cells]
    assert [cell.folder for cell in again.cells] == [cell.folder for cell in plan.cells]
    assert (again.seeds, again.engine.options) == (plan.seeds, {"jobs": 3})
    assert again.as_toml() == plan.as_toml() == tomli.loads(text)


def test_a_recipe_lies_below_the_file_and_that_of_a_cell_above_it(planned: Planned) -> None:
    plan = planned(
        """
        recipe = "metaplasticity/permuted-digits"
        [[sweep.cell]]
        name = "own"
        [[sweep.cell]]
        name = "other"
        recipe = "metaplasticity/permuted-digits"
        optimizer.m = 2.0
        """
    )
    assert [cell.settings["rule"]["name"] for cell in plan.cells] == [
        "bnnlab-backprop/bp",
        "bnnlab-dfa/dfa",
    ]
    assert plan.seeds == (0,)


def test_a_recipe_may_be_taken_in_its_short_form(planned: Planned) -> None:
    plan = planned(
        """
        recipe = "bayesbinn/fig5"
        short = true
        [[sweep.cell]]
        name = "of the file"
        [[sweep.cell]]
        name = "of the cell"
        recipe = "bayesbinn/fig5"
        short = true
        [[sweep.cell]]
        name = "full"
        recipe = "bayesbinn/fig5"
        """
    )
    assert [cell.settings["epochs"] for cell in plan.cells] == [2, 2, 100]
    assert [cell.settings["stream"]["tasks"] for cell in plan.cells] == [2, 3, 5]


def test_a_cell_is_known_by_what_it_computes(planned: Planned) -> None:
    one, same = (
        planned("[sweep]"),
        planned("checkpoint_minutes = 1\ndata = 'x'\n[sweep]\nseeds = 3"),
    )
    assert one.cells[0].digest == same.cells[0].digest
    assert one.cells[0].digest != planned("epochs = 2\n[sweep]").cells[0].digest
    assert one.cells[0].name == "bp + meta + mlp + permuted-digits"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no table \\[sweep\\]"),
        ("sweep = 1", "sweep: 1 is not a table"),
        ("[sweep]\ngird.optimizer = ['adam']", "no such entry. Did you mean 'grid'"),
        ("[sweep]\nseeds = []", "seeds in .*: .* Write how many seeds"),
        ("[sweep]\nseeds = [0, 0]", "different whole numbers"),
        ("[sweep]\nseeds = [-1]", "each from 0 to 2.63 - 1"),
        ("[sweep]\nseeds = 0", "1 to 10000"),
        ("[sweep]\nseeds = true", "1 to 10000"),
        ("[sweep]\nseeds = [0.5]", "whole numbers"),
        ("seed = 1\n[sweep]\nseeds = 2", "says the seeds"),
        ("[sweep.grid]\nepochs = []", "epochs in .*: the list is empty"),
        ("[sweep.grid]\nepochs = 3", "3 is not a list"),
        ("[sweep.grid]\nseed = [1, 2]", "seeds are repetitions"),
        ("[sweep.zip]\nout = ['a']", "a study has one folder"),
        ("[sweep.zip]\nepochs = [1, 2]\nbatch_size = [1]", "epochs has 2 values, batch_size has 1"),
        ("[sweep.grid]\nepoch = [1]", "epoch: no such setting. Did you mean 'epochs'"),
        ("[sweep.grid]\n'optimizer..b' = [1]", "write NAME or KIND.NAME"),
        ("[sweep.grid]\noptimizer.base.m = [1]", "optimizer.base: no such option of meta"),
        ("[[sweep.cell]]\nname = 'a'\n'optimizer.lr' = 1", "Write optimizer = { lr = ... }, or"),
        ("[[sweep.cell]]\nepochs = 1", "number 1 in .* has no name\\.$"),
        ("[[sweep.cell]]\nname = 3", "number 1 in .* has no name: 3 is none. Write a text"),
        ("[sweep.grid]\nepochs = [5, 6, 5]", "epochs in .*: the list has the value 5 twice"),
        ("[sweep.grid]\noptimizer.lr = [0.01, 0.010]", ": the list has the value 0.01 twice.$"),
        ("[[sweep.cell]]\nname = 'a'\nseed = 1", "seed in cell 'a'"),
        ("[sweep]\ncell = 1", "write each cell as a table"),
        ("engine = 'x'\n[sweep]", "unknown engine 'x'"),
        ("[sweep]\n[engine]\njob = 2", "engine.job: no such option of local. Did you mean 'jobs'"),
        ("[sweep.grid]\noptimizer.lr = [inf]", "^optimizer.lr: inf is not a finite number"),
        ("[sweep.grid]\noptimizer.lr = [0.1, nan]", "optimizer.lr: nan is not a finite number"),
        ("[tune]", "no table \\[sweep\\]. To tune: bnn tune .*rates.toml$"),
        ("engine = 3\n[sweep]", "neither a name nor a table"),
        ("table = 3\n[sweep]", "table: 3 is not a table"),
        ("recipe = 'x/y'\n[sweep]", "x/y"),
        ("recipe = 'demo/bp-adam'\nshort = true\n[sweep]", "'demo/bp-adam' has no short form"),
        ("recipe = 'demo/bp-adam'\nshort = 1\n[sweep]", "short: 1 is neither true nor false"),
        ("short = true\n[sweep]", "short: no such setting"),
        ("out = 'none'\n[sweep]", "a study needs a folder"),
        ("name = 'a/b'\n[sweep]", "not a folder's name"),
        (f"name = '{200 * 'é'}'\n[sweep]", "^name: it has 400 bytes; .* 255 at most.$"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    host: PluginHost, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "rates.toml").write_text(BASE + content)
    with pytest.raises(UsageError, match=message) as caught:
        make_plan(host, tmp_path / "rates.toml")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_plan_is_no_study(host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no folder of a study: it has no study\.toml"):
        make_plan(host, tmp_path)


def test_all_faults_are_named_with_their_cells(planned: Planned) -> None:
    with pytest.raises(UsageError) as caught:
        planned("[sweep]\ngrid.optimizer = ['adam', 'meddle']\ngrid.epochs = [1, 0]")
    assert re.findall("cell '.*?': ", str(caught.value)) == [
        "cell 'optimizer=adam, epochs=0': ",
        "cell 'optimizer=meddle, epochs=1': ",
        "cell 'optimizer=meddle, epochs=0': ",
    ]


def test_two_cells_are_not_equal_and_have_two_names(planned: Planned) -> None:
    with pytest.raises(match=r"'a' and 'b' have equal settings\.$"):
        planned("[[sweep.cell]]\nname = 'a'\n[[sweep.cell]]\nname = 'b'")
    with pytest.raises(match="'threads=1' and 'threads=2' differ only in threads: that tells no"):
        planned("[sweep]\ngrid.threads = [1, 2]")
    with pytest.raises(match="'a' and 'A' have one name"):
        planned("[[sweep.cell]]\nname = 'a'\n[[sweep.cell]]\nname = 'A'\nepochs = 2")


def test_a_cell_s_folder_is_fit_for_a_shell_and_its_own(planned: Planned) -> None:
    cells = "".join(
        f'[[sweep.cell]]\nname = "{name}"\nfolder = "{name}"\nepochs = {number}\n'
        for number, name in enumerate(
            ["a, m = -1 (b)", "A m=-1 b", "../..", "é", "x" * 300, "study.toml"], 1
        )
    )
    made = planned(cells).cells
    folders = ["a-m=-1-b", made[1].digest, "cell", made[3].digest, "x" * 100, made[5].digest]
    assert [cell.folder for cell in made] == folders


def test_seeds_are_said_as_a_number_or_one_by_one() -> None:
    assert seeds_of(3) == (0, 1, 2)
    assert seeds_of(range(4, 6)) == (4, 5)
    for said in ("3", 10**9, [2**63], None):
        with pytest.raises(UsageError):
            seeds_of(said)
