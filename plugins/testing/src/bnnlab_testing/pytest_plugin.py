"""Fixtures for a plugin's tests, and the strict `xfail` of the contracts.

pytest loads this module in every run of the environment, before it measures coverage and also
where nothing of bnnlab is tested: so whatever else of bnnlab is needed is imported in a fixture.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import pytest

# Failing checks of the contracts then show the values that they compared.
_HERE = Path(__file__).parent
_ASSERTING = *_HERE.glob("*_contract.py"), *_HERE.glob("*_checks.py"), _HERE / "lives.py"
pytest.register_assert_rewrite(*(f"bnnlab_testing.{file.stem}" for file in _ASSERTING))

MakePlugin = Callable[..., None]
_MISSING = pytest.StashKey[str]()
"""Of a test class: which data are not on this machine."""
FIRST = "bnnlab: first"
"""Names the section of a report that says what is to be mended before."""
_REPEATS = "test_the_same_seed_gives_the_same"
_DIFFER = pytest.StashKey[bool]()
"""Of a test class: whether two equal uses of its component differ."""


def write_plugin(
    folder: Path,
    distribution: str,
    source: str,
    *,
    group: str | None = None,
    entry: str | None = None,
    version: str = "1.0",
    modules: Mapping[str, str] | None = None,
) -> None:
    """Write a plugin and its metadata into a folder on sys.path, as an installation leaves them.

    Args:
        folder: The folder.
        distribution: Its name. The entry module is called the same, with `_` for `-`.
        source: Of the entry module.
        group: Of its entry point, if it is not the one of plugins.
        entry: Name of its entry point, if it is not the module's.
        version: Of the distribution.
        modules: Sources of other modules, by name.
    """
    from bnnlab.registry.hookspecs import ENTRY_POINT_GROUP

    module = re.sub(r"[-.]+", "_", distribution)
    for name, text in {module: source, **(modules or {})}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        f"[{group or ENTRY_POINT_GROUP}]\n{entry or module} = {module}\n", encoding="utf-8"
    )
    importlib.invalidate_caches()  # folders are remembered by their time stamps


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlugin]:
    """Install a plugin for the length of a test, without pip.

    It is called as `write_plugin`, without the folder.

    Example:
        >>> def test_twins(make_plugin):
        ...     make_plugin("acme-twin", SOURCE, version="2.0")
        ...     assert [p.version for p in PluginHost().plugins if p.name == "acme_twin"] == ["2.0"]
    """
    root = tmp_path / "site-packages"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    yield partial(write_plugin, root)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{root}{os.sep}"):
            del sys.modules[name]
    importlib.invalidate_caches()


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks of tests; `-m rounding` runs those alone that a processor may decide."""
    config.addinivalue_line(
        "markers", "rounding: it compares numbers that come out otherwise on another processor"
    )
    config.addinivalue_line("markers", "slow: it takes long, or is of a variant")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a contract's `xfail` names: it must fail, for the reason given."""
    checked = set[type]()
    for item in items:
        contract: Any = getattr(item, "cls", None)
        if not isinstance(item, pytest.Function) or not hasattr(contract, "bnnlab_contract"):
            continue
        if contract not in checked:
            checked.add(contract)
            _check(contract)
        if item.originalname in contract.xfail:
            reason = contract.xfail[item.originalname]
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Skip a contract's tests where its data are not on this machine, and cannot be fetched."""
    made = pyfuncitem.getparent(pytest.Class)
    if made is None or not hasattr(made.obj, "bnnlab_contract"):
        return (yield)
    from bnnlab.errors import DownloadError

    if _MISSING in made.stash:  # nobody waits for the network again
        pytest.skip(made.stash[_MISSING])
    try:
        return (yield)
    except DownloadError as error:
        made.stash[_MISSING] = f"its data are not on this machine: {error}"
        pytest.skip(made.stash[_MISSING])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a check that fails what its entry in docs/contracts explains."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        from bnnlab_testing.pages import entry_of, page_of

        made = item.getparent(pytest.Class)
        if made is not None and made.stash.get(_DIFFER, False):
            text = f"{_REPEATS} fails, too: mend that first, as it may be the only cause of this."
            report.sections.append((FIRST, text))
        elif made is not None and item.originalname == _REPEATS and call.excinfo:
            made.stash[_DIFFER] = isinstance(call.excinfo.value, AssertionError)
        if page := page_of(item.cls, item.originalname):
            report.sections.append(("bnnlab", f"{entry_of(page)}\n({page})"))
    return report


def _check(contract: Any) -> None:
    """Refuse a contract that names no component, or whose settings are not what they seem to be."""
    made = contract.__name__
    if not hasattr(contract, "name"):
        raise pytest.UsageError(f'{made}: say which component it checks: name = "..."')
    for name in contract.xfail:
        if not hasattr(contract, name):
            raise pytest.UsageError(f"{made}.xfail: no check is called {name!r}")
    kit = [each for each in contract.__mro__ if each.__module__.startswith("bnnlab_testing.")]
    known = {name for each in kit for name in (*vars(each), *inspect.get_annotations(each))}
    own = {name for each in contract.__mro__ if each not in kit for name in vars(each)}
    for name in sorted(own - known):
        if callable(getattr(contract, name)):
            continue  # tests and helpers of its own may be called as they like
        meant = get_close_matches(name, known, n=1, cutoff=0.85)
        if meant:
            raise pytest.UsageError(f"{made}.{name} is not known: do you mean {meant[0]!r}?")
