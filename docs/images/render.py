"""Draw docs/images/demo.svg: what `make demo` prints at its end.

python docs/images/render.py
"""

from pathlib import Path

from rich.console import Console

import bnnlab
from bnnlab.cli.display import result_lines

result = bnnlab.run(recipe="metaplasticity/permuted-digits")
with Path("/dev/null").open("w") as nowhere:
    console = Console(record=True, width=72, file=nowhere, highlight=False)
    console.print("$ make demo")
    console.print(*result_lines(result.as_dict()), sep="\n")
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="bnnlab")
