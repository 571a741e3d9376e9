"""Put the source of the site together: pages that are written, pages that are made, and files."""

import json
import re
import shutil
from pathlib import Path

from bnnlab_site.commands import commands_page
from bnnlab_site.markdown import portable
from bnnlab_site.navigation import navigation
from bnnlab_site.plugins import all_options, read_plugins
from bnnlab_site.python import python_pages
from bnnlab_site.settings import settings_page
from bnnlab_site.sources import Links, written_pages

OWN = Path(__file__).parents[1]
"""The folder with the configuration, the style and the script."""


def assemble(root: Path, folder: Path) -> None:
    """Write the source of the site of a repository into a new folder.

    Raises:
        ValueError: If a link leads to nothing, or a page is in no section of the navigation.
    """
    plugins = read_plugins(root)
    made = {
        "reference/cli.md": commands_page(plugins),
        "reference/settings.md": settings_page(),
        **python_pages(root),
    }
    readmes = {each.folder / "README.md": each for each in plugins}
    places = written_pages(root) | {file: each.place for file, each in readmes.items()}
    links = Links(root, places)
    texts = {}
    for file, place in places.items():
        text = portable(links.rewrite(file.read_text("utf-8"), file))
        texts[place] = text + (all_options(readmes[file]) if file in readmes else "")
    if links.broken:
        raise ValueError("links that lead to nothing:\n" + "\n".join(links.broken))
    texts |= made
    titles = {place: _title(text) for place, text in texts.items()}
    titles |= {each.place: each.folder.name for each in plugins}
    _write(folder, texts, links.files)
    _configure(folder, titles)


def _title(text: str) -> str:
    """Return a page's heading."""
    found = re.search(r"^# (.*)$", text, re.M)
    if not found:
        raise ValueError(f"a page has no heading: {text[:60]!r}")
    return found[1].replace("`", "")


def _write(folder: Path, texts: dict[str, str], files: dict[str, Path]) -> None:
    docs = folder / "docs"
    for place in {*texts, *files}:
        (docs / place).parent.mkdir(parents=True, exist_ok=True)
    for place, text in texts.items():
        (docs / place).write_text(text, "utf-8")
    for place, file in files.items():
        shutil.copyfile(file, docs / place)
    shutil.copytree(OWN / "assets", docs / "assets")


def _configure(folder: Path, titles: dict[str, str]) -> None:
    """Write mkdocs.yml: what is written there, and the navigation."""
    said = (OWN / "mkdocs.yml").read_text("utf-8")
    entries = json.dumps(navigation(titles))  # which is YAML, too
    (folder / "mkdocs.yml").write_text(f"{said}\nnav: {entries}\n", "utf-8")
