"""`python -m bnnlab.cli` is `bnn`."""

import sys

from bnnlab.cli import main

sys.exit(main())
