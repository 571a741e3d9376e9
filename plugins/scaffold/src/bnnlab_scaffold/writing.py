"""The files of a new package: made from templates, and written all at once."""

import json
from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, PackageLoader, StrictUndefined

from bnnlab.errors import UsageError
from bnnlab_scaffold.package import Package

_SUFFIX = ".jinja"


def files(package: Package) -> dict[str, str]:
    """Return the text of each file of a package, by its place in the package's folder.

    They are the templates in `common` and in the folder of the package's kind. What has another
    suffix than `.jinja` stays as it is. A folder `package` gets the name of the module.
    """
    loader = PackageLoader("bnnlab_scaffold")
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = partial(json.dumps, ensure_ascii=False)  # as TOML writes text
    found: dict[str, str] = {}
    for template in loader.list_templates():
        room, _, path = template.partition("/")
        if room not in ("common", package.kind):
            continue
        place = path.removesuffix(_SUFFIX).replace("/package/", f"/{package.module}/")
        if path.endswith(_SUFFIX):
            page = environment.get_template(template)
            found[place] = page.render(it=package, year=date.today().year)
        else:
            found[place], *_ = loader.get_source(environment, template)
    return found


def expect_free(folder: Path) -> None:
    """Refuse a folder that holds anything, and what is no folder.

    Raises:
        UsageError: With what to do.
    """
    is_folder = folder.is_dir()
    if is_folder and any(folder.iterdir()):
        state = "is not empty"
    elif not is_folder and (folder.exists() or folder.is_symlink()):
        state = "is no folder"
    else:
        return
    raise UsageError(f"{folder} {state}: name another place by --dest, which need not exist.")


def write(texts: Mapping[str, str], folder: Path) -> None:
    """Write files into a folder that is new or empty: all of them, or none if one cannot be.

    They are written beside it first.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        root = Path(beside, folder.name)
        for place, text in texts.items():
            file = root / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
        if not folder.exists():
            root.rename(folder)
            return
        for each in root.iterdir():  # the folder itself stays: somebody may be in it
            each.rename(folder / each.name)
