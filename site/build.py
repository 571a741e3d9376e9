"""Build the documents as a site, and put it where bnnlab-docs shows it: `make docs`.

A broken link, a missing heading or a request to another machine is an error.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from bnnlab_site.assemble import assemble
from bnnlab_site.check import faults

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "site"
SHOWN = ROOT / "plugins" / "docs" / "src" / "bnnlab_docs" / "site"


def main() -> None:
    """Assemble, build and check the site; then replace the one before."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    assemble(ROOT, FOLDER)
    zensical = [sys.executable, "-m", "zensical", "build", "--strict"]
    if subprocess.run(zensical, cwd=FOLDER).returncode:
        sys.exit("error: Zensical did not build the site, see above")
    (FOLDER / "site" / "404.html").unlink()  # for a server, at the root of its addresses
    found = [*faults(FOLDER / "site")]
    if found:
        sys.exit("\n".join(["error: the site has faults:", *found]))
    shutil.rmtree(SHOWN, ignore_errors=True)
    shutil.copytree(FOLDER / "site", SHOWN)
    print(SHOWN / "index.html")


if __name__ == "__main__":
    main()
