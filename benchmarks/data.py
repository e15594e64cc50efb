"""Where the public recordings and measurements are that benchmarks play."""

import os
import sys
from pathlib import Path


def shared() -> Path:
    """Return what ``HETEROSCALE_SHARED`` names, or ``../shared``; exit when it isn't there."""
    found = Path(os.environ.get("HETEROSCALE_SHARED", "../shared"))
    if (found / "data").is_dir():
        return found
    sys.exit(f"{found}/data is not there: name its directory with HETEROSCALE_SHARED=…")
