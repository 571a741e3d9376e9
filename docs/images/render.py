"""Draw docs/images/demo.svg: what `make demo` prints at its end.

python docs/images/render.py
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 80
ENVIRONMENT = {**os.environ, "FORCE_COLOR": "1", "COLORTERM": "truecolor", "COLUMNS": str(WIDTH)}

command = [sys.executable, "-m", "bnnlab.cli", "demo", "--quiet"]
printed = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
with Path("/dev/null").open("w") as nowhere:
    console = Console(record=True, width=WIDTH, file=nowhere, highlight=False)
    console.print("$ make demo")
    console.print(Text.from_ansi(printed.stdout))
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="bnnlab")
