"""Pages on the public names of `bnnlab`, from signatures and docstrings. No torch is imported."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import griffe

import bnnlab
from bnnlab_site.markdown import code, escaped, fenced, portable, table

PAGES: Mapping[str, tuple[str, ...]] = {
    "Running": ("api", "engine"),
    "Data and models": ("conversion",),
    "Interfaces": ("interfaces",),
    "Base classes": ("families",),
    "Layers": ("nn",),
    "Plugins and options": ("registry", "markers"),
    "Errors": ("errors",),
}
"""Per page: the parts of `bnnlab` in which its names are defined."""
_TABLES: Mapping[str, tuple[str, str]] = {
    "parameters": ("argument", "meaning"),
    "attributes": ("attribute", "meaning"),
    "raises": ("error", "when"),
}
"""Per section of a docstring: the heads of its table."""
_LONGEST = 80
_NEXT_ARGUMENT = re.compile(r", (?=\*|/|\w+(?:: |=))")


def python_pages(root: Path) -> dict[str, str]:
    """Return the pages by their place. Every public name and every hook is on one."""
    package: Any = griffe.load(
        "bnnlab",
        search_paths=[root / "core"],
        docstring_parser="google",
        docstring_options={"returns_multiple_items": False, "warnings": False},
    )
    public = [package[name] for name in sorted(bnnlab.__all__) if not name.startswith("_")]
    found = {
        title: [each for each in public if each.target_path.split(".")[1] in parts]
        for title, parts in PAGES.items()
    }
    hooks = package["registry.hookspecs"].functions
    found["Hooks"] = [hook for name, hook in hooks.items() if name.startswith("bnnlab_")]
    return {_place(title): _page(title, names) for title, names in found.items()}


def _place(title: str) -> str:
    return f"reference/python/{title.lower().replace(' ', '-')}.md"


def _page(title: str, names: Iterable[Any]) -> str:
    return "\n\n".join([f"# {title}", *(part for each in names for part in _about(each))]) + "\n"


def _about(named: Any) -> Iterator[str]:
    """Yield heading, signature and docstring of a class or function, and the methods of a class."""
    made = named.final_target if named.is_alias else named
    yield f"## {code(named.name)}"
    if made.is_class and made.bases:
        yield f"Derives from {', '.join(code(str(base)) for base in made.bases)}."
    yield from _described(made)
    for member in made.members.values() if made.is_class else ():
        if not member.name.startswith("_") and not member.is_alias and member.docstring:
            yield f"### {code(f'{named.name}.{member.name}')}"
            yield from _described(member)


def _described(made: Any) -> Iterator[str]:
    signature = str(made.annotation or "") if made.is_attribute else made.signature()
    if signature:
        yield fenced(_in_lines(re.sub(r"\((?:self|cls)(?:, )?", "(", signature, count=1)))
    for section in made.docstring.parsed if made.docstring else ():
        yield _section(section)


def _in_lines(signature: str) -> str:
    """Return a signature with a line for each argument, if it is long."""
    if len(signature) <= _LONGEST:
        return signature
    name, _, rest = signature.partition("(")
    arguments, _, result = rest.rpartition(")")
    lines = ",\n    ".join(_NEXT_ARGUMENT.split(arguments))
    return f"{name}(\n    {lines},\n){result}"


def _section(section: Any) -> str:
    if section.kind == "text":
        return portable(escaped(section.value))
    if section.kind in _TABLES:
        rows = [(_name(each), escaped(each.description)) for each in section.value]
        return table(_TABLES[section.kind], rows)
    if section.kind in ("returns", "yields"):
        (each,) = section.value
        what = f"{each.name}: {each.description}" if each.name else each.description
        return f"**{section.kind.capitalize()}** {escaped(what)}"
    if section.kind == "admonition":
        return fenced(section.value.contents)
    raise ValueError(f"no page shows the section {section.kind} of a docstring")


def _name(each: Any) -> str:
    return code(getattr(each, "name", None) or str(each.annotation))
