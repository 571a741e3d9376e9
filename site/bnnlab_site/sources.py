"""Which files of the repository are pages of the site, and where the links in them lead."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path

from bnnlab_site.markdown import CODE, FENCED, outside

_LINK = re.compile(
    rf"{CODE.pattern}"
    r"|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)",
    re.S,
)
_ELSEWHERE = re.compile(r"[a-z]+:|#")


def written_pages(root: Path) -> dict[Path, str]:
    """Return the pages that are files of the repository, and no plugin's: file and place."""
    docs = root / "docs"
    found = {file: _index(file.relative_to(docs)) for file in sorted(docs.rglob("*.md"))}
    return {
        **found,
        root / "benchmarks" / "README.md": "benchmarks.md",
        root / "runtime" / "README.md": "runtime.md",
        root / "runtime" / "FORMAT.md": "format.md",
        root / "CONTRIBUTING.md": "contributing.md",
        root / "CHANGELOG.md": "changelog.md",
    }


def _index(file: Path) -> str:
    return (file.with_name("index.md") if file.name == "README.md" else file).as_posix()


@dataclass(frozen=True)
class Links:
    """Where links lead, once each page has its place in the site.

    A link to a page leads to its place. A file in docs/ that is no page, such as a picture, goes
    with the site. Of a link to anything else in the repository, the text stays.

    Attributes:
        root: The repository.
        pages: The place of each page that is a file.
        files: Files that go with the site, by their place; filled as links lead to them.
        broken: The links that lead to nothing; filled as they are found.
    """

    root: Path
    pages: Mapping[Path, str]
    files: dict[str, Path] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def rewrite(self, text: str, file: Path) -> str:
        """Return the text of a file with the links that it has at its place."""
        return outside(FENCED, text, lambda prose: self._rewrite(prose, file))

    def _rewrite(self, prose: str, file: Path) -> str:
        def change(link: re.Match[str]) -> str:
            if link["ticks"]:
                return link[0]
            text, target = self._rewrite(link["text"], file), self._target(link["target"], file)
            return f"{link['image']}[{text}]({target})" if target else text

        return _LINK.sub(change, prose)

    def _target(self, target: str, file: Path) -> str | None:
        """Return what a link leads to in the site; None if that is not there."""
        if _ELSEWHERE.match(target):
            return target
        name, _, heading = target.partition("#")
        path = Path(normpath(file.parent / name))
        place = self._place(path)
        if place is None:
            if not path.exists():
                self.broken.append(f"{file.relative_to(self.root)}: {target}")
            return None
        relative = posixpath.relpath(place, posixpath.dirname(self.pages[file]) or ".")
        return f"{relative}#{heading}" if heading else relative

    def _place(self, path: Path) -> str | None:
        docs = self.root / "docs"
        if path in self.pages:
            return self.pages[path]
        if not path.is_file() or not path.is_relative_to(docs):
            return None
        place = path.relative_to(docs).as_posix()
        self.files[place] = path
        return place
