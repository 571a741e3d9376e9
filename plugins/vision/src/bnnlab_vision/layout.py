"""Find the parts and classes of a folder of images. Ambiguous folders are refused."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bnnlab.errors import NOTE, DataError
from bnnlab_vision.names import ROLES, Role, hints_at, listed, role_of
from bnnlab_vision.tree import Tree, read_tree

log = logging.getLogger("bnnlab.vision")

REMEDY = (
    "Call the parts train, test and val, with one folder per class in each, and move away what is "
    "none; or if these folders are classes, list them in a file: --set stream.class_order=FILE."
)

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""How files of images end, as in torchvision, whose import takes two seconds."""
NO_IMAGES = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".md", ".rst"}
    | {".html", ".pdf", ".log", ".py", ".ipynb", ".sh", ".mat"}
)
"""Files that often lie beside images. They are left out without a warning."""


@dataclass(frozen=True)
class Layout:
    """The parts, classes and images of a folder.

    Attributes:
        classes: Names of the classes, sorted.
        folders: The folder of each part. Without parts, all images are `train`.
        images: (file, class) of each image of a part, in the order of classes, folders and names.
        left_out: Files that are not used, by reason.
        hidden: Number of ignored hidden names.
    """

    classes: list[str]
    folders: Mapping[Role, Path]
    images: Mapping[Role, list[tuple[str, str]]]
    left_out: Mapping[str, list[Path]]
    hidden: int

    def tell(self, root: Path, test_share: float) -> None:
        """Say what the folder was understood to hold, before the time that reading takes."""
        log.log(NOTE, "%s: %s", root.resolve().name, self._summary(test_share))
        for line in self._details():
            log.info("%s", line)
        odd = {
            why: [path for path in files if path.suffix.lower() not in NO_IMAGES]
            for why, files in self.left_out.items()
        }
        some = _counted({why: files for why, files in odd.items() if files})
        if some:
            log.warning("not used in %s: %s", root, some)

    def _summary(self, test_share: float) -> str:
        uses: dict[Role, str] = {
            "train": "to learn from",
            "validation": "held out",
            "test": "to test",
        }
        said = [
            f"{len(self.images[role])} {use} ({self.folders[role].name}/)"
            for role, use in uses.items()
            if role in self.images
        ]
        if "test" not in self.images:
            said.append(f"a share of {test_share:g} of these tested")
        unused = sum(map(len, self.left_out.values()))
        if unused:
            said.append(f"{unused} files left out")
        return f"{len(self.classes)} classes; images: {', '.join(said)}"

    def _details(self) -> list[str]:
        """Return lines with the classes and their counts, and what was left out and why."""
        count = Counter((role, name) for role, images in self.images.items() for _, name in images)
        roles = [role for role in ROLES if role in self.images]
        classes = [
            f"{name} {'+'.join(str(count[role, name]) for role in roles)}" for name in self.classes
        ]
        return [
            f"parts: {', '.join(f'{role} {self.folders[role]}' for role in roles)}",
            f"classes, with their images of {' + '.join(roles)}: {listed(classes)}",
            f"left out: {_counted(self.left_out) or 'none'}; hidden and passed over: {self.hidden}",
        ]


def _counted(files: Mapping[str, list[Path]]) -> str:
    named = [f"{len(paths)} {why} ({paths[0].name}, ...)" for why, paths in files.items()]
    return ", ".join(named)


def read_layout(root: Path, named: Collection[str] = ()) -> Layout:
    """Find the parts, classes and images of a folder.

    Args:
        root: The folder.
        named: Names of the classes, if the user gave them. If every folder has such a name, all
            folders are classes, and none is a part.

    Raises:
        DataError: If it is not a folder of images, or an ambiguous one.
    """
    tree = read_tree(root)
    parts = {} if _are_named(tree, named) else _find_parts(tree)
    given = parts or {"train": tree}
    for part in given.values():
        _check_classes(part, named)
    for part in given.values():
        _compare(given["train"], part)
    left_out: dict[str, list[Path]] = defaultdict(list)
    images = {role: list(_images(part, left_out)) for role, part in given.items()}
    if parts:
        used = [part.path for part in given.values()]
        for other in tree.folders.values():
            if other.path not in used:
                left_out["in folders that are no part"] += map(Path, other.paths())
        left_out["beside the parts"] += [tree.path / name for name in tree.files]
    for folder in tree.below():
        left_out["no regular file"] += [folder.path / name for name in folder.special]
    return Layout(
        list(given["train"].folders),
        {role: part.path for role, part in given.items()},
        images,
        {why: files for why, files in left_out.items() if files},
        sum(folder.hidden for folder in tree.below()),
    )


# ---------------------------------------------------------------------------- parts


def _find_parts(tree: Tree) -> dict[Role, Tree]:
    """Return the parts, found by their names; empty if no folder has such a name."""
    parts: dict[Role, Tree] = {}
    for name, folder in tree.folders.items():
        role = role_of(name)
        if role and role in parts:
            raise _doubt(tree, f"{parts[role].path.name} and {name} both look like the {role} part")
        if role:
            parts[role] = folder
    if not parts:
        return {}
    if "validation" in parts and "test" not in parts:
        parts["test"] = parts.pop("validation")
    names = [part.path.name for part in parts.values()]
    others = [
        name
        for name, folder in tree.folders.items()
        if role_of(name) is None and _has_image(folder)
    ]
    if others:
        raise _doubt(
            tree,
            f"{listed(names)}: called like a part, beside folders of images that are none "
            f"({listed(others)})",
        )
    if "train" not in parts:
        raise _doubt(tree, f"{listed(names)}: called like a part, without a train part")
    for part in parts.values():
        if not part.folders:
            held = "images, but no folders" if _has_image(part) else "no images"
            raise _doubt(
                tree,
                f"{part.path.name} must have one folder per class, and has {held}",
            )
    return parts


def _has_image(tree: Tree) -> bool:
    return any(_is_image(name) for each in tree.below() for name in each.files)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGES)


def _doubt(tree: Tree, message: str) -> DataError:
    return DataError(f"{tree.path}: {message}. {REMEDY}")


# ---------------------------------------------------------------------------- classes


def _are_named(tree: Tree, named: Collection[str]) -> bool:
    return bool(named) and {*tree.folders} <= {*named}


def _check_classes(part: Tree, named: Collection[str]) -> None:
    """Refuse a part if its folders are not clearly classes."""
    count = len(part.folders)
    if count < 2:
        below = [name for name, folder in part.folders.items() if len(folder.folders) > 1]
        hint = f" Is it {part.path / below[0]} that is meant?" if below else ""
        raise DataError(
            f"{part.path} is not a folder of images: "
            f"it needs at least two classes and has {count}.{hint}"
        )
    if not named:  # else the names decide, and are compared with them
        why = next(_doubts(part), None)
        if why:
            raise _doubt(part, why)
    empty = [name for name, folder in part.folders.items() if not _has_image(folder)]
    if empty:
        raise DataError(
            f"{part.path} is not a folder of images: no image in {listed(empty)}. "
            f"Images end in {' '.join(IMAGES)}."
        )


def _doubts(part: Tree) -> Iterator[str]:
    """Yield reasons why the folders of a part may not be classes."""
    hints: dict[Role, str] = {}
    cases: dict[str, str] = {}
    within: Counter[str] = Counter()
    for name, folder in part.folders.items():
        for inner in folder.below():
            if role_of(inner.path.name):
                place = inner.path.relative_to(part.path).as_posix()
                yield f"{place} is called like a part, where a class is expected"
        alike = cases.setdefault(name.casefold(), name)
        if alike != name:
            yield f"{listed([alike, name])} differ in case alone: one class, or two"
        hint = hints_at(name)
        if hint:
            hints.setdefault(hint, name)
        if not folder.files:
            within.update(folder.folders.keys())
    if "train" in hints and len(hints) > 1:
        yield f"{listed(hints.values())}: not called like classes, but like parts"
    shared = [name for name, count in within.items() if count > 1]
    if len(shared) > 1:
        yield f"its folders hold folders of the same names ({listed(shared)}), as parts do"


def _compare(train: Tree, part: Tree) -> None:
    """Refuse a part if its classes are not those of the training part."""
    lacks = train.folders.keys() - part.folders.keys()
    besides = part.folders.keys() - train.folders.keys()
    if lacks or besides:
        raise DataError(
            f"{part.path} must have the classes of {train.path}. "
            f"Missing: {listed(sorted(lacks)) or 'none'}. "
            f"Not in {train.path.name}: {listed(sorted(besides)) or 'none'}."
        )


def _images(part: Tree, left_out: dict[str, list[Path]]) -> Iterator[tuple[str, str]]:
    """Yield (file, class) of the images of a part; add the other files to `left_out`."""
    left_out["beside the classes"] += [part.path / name for name in part.files]
    for name, folder in part.folders.items():
        for file in folder.paths():
            if _is_image(file):
                yield file, name
            else:
                path = Path(file)
                left_out[path.suffix.lower() or "no suffix"].append(path)
