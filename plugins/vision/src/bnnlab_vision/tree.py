"""Read a folder tree without hidden files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnnlab.errors import DataError
from bnnlab_vision.names import is_hidden, normal


@dataclass(frozen=True)
class Tree:
    """A folder.

    Attributes:
        path: Its path.
        folders: Its folders by name in Unicode NFC, sorted.
        files: Names of its files, sorted; also of broken links.
        special: Names of pipes, sockets and devices.
        hidden: Number of hidden names; see `bnnlab_vision.names`.
    """

    path: Path
    folders: dict[str, "Tree"]
    files: list[str]
    special: list[str]
    hidden: int

    def below(self) -> Iterator["Tree"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.below()

    def paths(self) -> list[str]:
        """Return all files below, sorted by their folders and then by their names.

        They are no `Path`: of 60,000 files, these take half a second.
        """
        folders = sorted(self.below(), key=lambda tree: normal(str(tree.path)))
        above = [(os.path.join(tree.path, ""), tree.files) for tree in folders]  # noqa: PTH118
        return [f"{folder}{name}" for folder, names in above for name in names]


def read_tree(root: Path) -> Tree:
    """Read a folder and all folders below it; links are followed.

    Raises:
        DataError: If a folder cannot be read, or is found twice, by a link or by two spellings.
    """
    return _read(root, {})


def _read(path: Path, homes: dict[Path, Path]) -> Tree:
    try:
        first = homes.setdefault(path.resolve(), path)
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: (normal(entry.name), entry.name))
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        why = error.strerror if isinstance(error, OSError) else "a link that leads round"
        raise DataError(f"{path} is not a folder of images: {why}.") from error
    if first != path:
        raise DataError(f"{path} is a link to {first}, which is read already: remove the link.")
    seen = [entry for entry in entries if not is_hidden(entry.name)]
    kinds = [_kind(entry) for entry in seen]
    folders: dict[str, Tree] = {}
    for entry, kind in zip(seen, kinds, strict=True):
        if kind != "folder":
            continue
        name = normal(entry.name)
        if name in folders:
            raise DataError(
                f"{path} has the folder {name} twice, its name in two spellings "
                "(Unicode NFC and NFD): join them."
            )
        folders[name] = _read(Path(entry), homes)

    def of(wanted: str) -> list[str]:
        return [entry.name for entry, kind in zip(seen, kinds, strict=True) if kind == wanted]

    return Tree(path, folders, of("file"), of("special"), len(entries) - len(seen))


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return `folder`, `file` or `special`. A broken link is a missing file."""
    if entry.is_symlink():
        path = Path(entry)
        folder, file = path.is_dir(), path.is_file() or not path.exists()
    else:
        folder, file = entry.is_dir(), entry.is_file()
    return "folder" if folder else "file" if file else "special"
