"""``python -m livepick``: the same as the command ``livepick``."""

import sys

from livepick.cli import main

if __name__ == "__main__":
    sys.exit(main())
