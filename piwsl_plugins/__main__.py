"""``python -m piwsl_plugins`` is the ``piwsl`` command."""

import sys

from piwsl_plugins.cli import main

if __name__ == "__main__":
    sys.exit(main())
