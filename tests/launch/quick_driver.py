"""`frostline` with reports that have no figures, which take seconds: `python -m tests.launch.quick_driver run ...`."""

from __future__ import annotations

import sys

from frostline.cli import main
from frostline.report import gallery

if __name__ == "__main__":
    gallery.FIGURES = ()
    sys.argv[0] = "frostline"
    main()
