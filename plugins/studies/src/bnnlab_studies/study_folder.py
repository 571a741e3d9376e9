"""The folder of a study: whose it is, and the plan in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import tomli_w

from bnnlab.errors import UsageError, first_line
from bnnlab.registry.host import PluginHost
from bnnlab.storage.files import write_atomically
from bnnlab.storage.folder import RunFolder
from bnnlab_studies.cells import listed
from bnnlab_studies.membership import HEAD, PLAN
from bnnlab_studies.plan import Plan, in_folders, make_plan


@contextmanager
def held(host: PluginHost, plan: Plan) -> Iterator[Plan]:
    """Make or extend a study's folder, and keep other processes from it in the block.

    In the plan that is yielded, cells of before have their folders of before.

    Raises:
        UsageError: If the folder is in use, holds something else, or cannot be written.
    """
    path = plan.folder
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror}.") from error
    folder = RunFolder(path)
    folder.lock()
    try:
        plan = agreed(host, plan)
        content = HEAD + tomli_w.dumps(plan.as_toml())
        try:
            write_atomically(path / PLAN, content.encode())
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise UsageError(f"cannot write to {path}: {reason}.") from error
        yield plan
    finally:
        folder.unlock()


def agreed(host: PluginHost, plan: Plan) -> Plan:
    """Return the plan, with the folders that its cells have already.

    Raises:
        UsageError: If the folder holds runs that are not a part of the plan, or no study.
    """
    file = plan.folder / PLAN
    if not file.exists():
        others = [] if not plan.folder.exists() else [*plan.folder.glob("[!.]*")]
        if others:
            raise UsageError(
                f"{plan.folder} holds no study, but {min(others).name!r}. Choose another --name "
                "or --out."
            )
        return plan
    if not file.read_text(encoding="utf-8").startswith(HEAD):
        raise UsageError(f"{file} is a sweep file, and its folder none of a study: name the file.")
    before = make_plan(host, plan.folder)
    begun = [cell for cell in before.cells if (plan.folder / cell.folder).exists()]
    mine = {cell.digest for cell in plan.cells}
    lacking = [cell.name for cell in begun if cell.digest not in mine]
    seeds = [f"seed {seed}" for seed in before.seeds if begun and seed not in plan.seeds]
    if what := listed(lacking) or ", ".join(seeds):
        raise UsageError(
            f"{plan.folder} holds another study: it has {what}, which this one lacks. "
            "Choose another --name or --out."
        )
    return replace(plan, cells=in_folders(plan.cells, {it.digest: it.folder for it in begun}))
