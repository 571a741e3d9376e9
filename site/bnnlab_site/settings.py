"""The page on the settings of a run, from the one table of them."""

from bnnlab.cli.describing import option_rows
from bnnlab.settings.run import KINDS, MANY_HELP, RUN_OPTIONS
from bnnlab_site.markdown import code, escaped, table

_HEAD = """# Settings

What a run is told, in a run file, by flags of `bnn run` and by arguments of `bnnlab.run`.
[Running](../running.md#settings) says how they are merged. `bnn schema` prints all this for
editors.

## Components

A component is a name, or a table of its name and its options. The page of its plugin lists them.
"""


def settings_page() -> str:
    """Return the page."""
    kinds = [(code(kind), escaped(meaning)) for kind, meaning in {**KINDS, **MANY_HELP}.items()]
    rows = [
        (code(name), escaped(kind), code(default), escaped(meaning))
        for name, kind, default, meaning in option_rows(RUN_OPTIONS)
    ]
    return (
        f"{_HEAD}\n{table(('setting', 'what it chooses'), kinds)}\n## The run\n\n"
        f"{table(('setting', 'type', 'default', 'meaning'), rows)}"
    )
