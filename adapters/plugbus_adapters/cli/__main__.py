"""``python -m plugbus_adapters.cli`` is ``plugbus``."""

import sys

from plugbus_adapters.cli import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
