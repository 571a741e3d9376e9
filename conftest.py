"""The tests of a plugin that is not installed are skipped, with what installs it.

The environment is active, as messages name a program that is not on the path by its place.
"""

import atexit
import gc
import os
import signal
import sys
import sysconfig
from collections.abc import Generator, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, PathDistribution, distribution
from pathlib import Path
from typing import Any, NoReturn

import pytest
import tomli

PLUGINS = Path(__file__).parent / "plugins"
LONG = {
    "test_a_figure_is_of_the_part_that_it_is_named_after",
    "test_a_long_task_goes_on_bit_for_bit",
    "test_a_run_goes_on_as_without_it",
    "test_a_step_waits_for_the_device_as_often_as_declared",
    "test_an_interrupted_run_goes_on_bit_for_bit",
    "test_an_option_that_changes_the_data_changes_the_protocol",
    "test_every_parameter_changes_an_output",
    "test_it_finds_the_best_of_all_weights",
    "test_it_stops_no_run_by_test_data",
    "test_it_works_on_every_device",
    "test_its_diagnostics_change_nothing",
    "test_nothing_is_learned_from_the_test_part",
    "test_the_batch_is_left_as_it_is_to_the_end",  # by the training of the next one
    "test_the_loss_falls_on_separable_data",
    "test_the_same_seed_gives_the_same",
    "test_torchs_schedulers_work_or_are_refused",
    "test_two_in_one_process_do_not_meet",
    "test_what_it_keeps_does_not_grow",
    "test_what_it_learned_is_in_its_state",
    "test_what_it_measures_outlives_a_stop",
    "test_what_it_seeds_in_use_follows_the_seed",
}
"""The checks of the kit that take longest."""
OF_ITS_OPTIONS = "test_no_option_is_ignored"
SLOW = {"test_another_process_gives_the_same", OF_ITS_OPTIONS}
"""Those that start a process each, or try many values."""
OF_THE_DECLARATION = {
    "test_an_unknown_option_is_refused_by_name",
    "test_it_says_what_it_is_and_where_it_comes_from",
    "test_its_capabilities_are_those_of_its_kind",
    "test_its_claims_can_be_measured",
    "test_its_class_loads_and_is_documented",
    "test_its_defaults_are_within_their_own_bounds",
    "test_its_options_are_its_constructors_keywords",
    "test_its_options_are_read_without_importing_it",
    "test_no_method_is_nearly_one_of_its_interface",
    "test_the_entry_module_is_data_alone",
    "test_what_it_has_with_each_value_is_declared",  # tries all values, whatever the class has
}
"""Those that are the same, or nearly, for all classes of a component."""

os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What a test writes need not outlive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def metadata_read_once() -> Iterator[None]:
    """Each `PluginHost` reads metadata of all that is installed, which no test changes."""
    read, home = PathDistribution.read_text, sysconfig.get_path("purelib")

    @cache
    def installed(folder: Path, name: str) -> str | None:
        return read(PathDistribution(folder), name)

    def read_text(self: PathDistribution, name: str) -> str | None:
        folder: Any = self._path
        return installed(folder, name) if str(folder.parent) == home else read(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PathDistribution, "read_text", read_text)
        yield


@pytest.fixture
def heard() -> Iterator[None]:
    """Let signals be heard also where the shell that began the tests ignores some of them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    """Let a worker end at once: Python needs 10 s to free what all tests have imported."""
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector leaves alone what is imported and collected, which is never garbage.

    What tests import is not, either: it looks at all of that a tenth as often as usual.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.set_threshold(10_000, 10, 10)
        gc.freeze()
        atexit.register(gc.unfreeze)  # or libraries say at the exit that objects are left


class NotInstalled(pytest.Dir):
    """The folder of a plugin that this environment does not have: none of it is imported."""

    def collect(self) -> NoReturn:
        """Skip it, and say why."""
        pytest.skip(f"{_name(self.path)} is not installed: make test-{self.path.name}")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Return what stands for the folder of a plugin that is not installed."""
    if path.parent != PLUGINS or not path.joinpath("pyproject.toml").exists():
        return None
    try:
        distribution(_name(path))
    except PackageNotFoundError:
        return NotInstalled.from_parent(parent, path=path)
    return None


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The usual run checks the first class of each component, at length the first of each kind.

    Some checks are for the slow tests alone; these and those of the declaration are made for the
    first class of a component. Only that of an optimizer's options is made for each class, as it
    looks for no effect beside other values.
    """
    first: dict[object, object] = {}
    kept: list[pytest.Item] = []
    for item in items:
        contract, name = getattr(item, "cls", None), getattr(item, "originalname", None)
        if contract is not None and hasattr(contract, "bnnlab_contract"):
            is_of_kind, is_of_component = (
                first.setdefault((contract.kind, each), contract) is contract
                for each in (item.path, contract.name)
            )
            is_long = name in SLOW or (name in LONG and not is_of_kind)
            if is_long or not is_of_component:
                item.add_marker(pytest.mark.slow)
            is_once = (contract.kind, name) != ("optimizer", OF_ITS_OPTIONS)
            if is_once and name in SLOW | OF_THE_DECLARATION and not is_of_component:
                continue
        kept.append(item)
    items[:] = kept


def _name(folder: Path) -> str:
    project = tomli.loads((folder / "pyproject.toml").read_text())["project"]
    name: str = project["name"]
    return name
