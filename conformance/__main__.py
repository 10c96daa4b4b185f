"""This module runs the command line as ``python -m conformance``."""

import sys

try:
    from conformance.cli import main
except KeyboardInterrupt:  # before there is anything to stop
    sys.exit(130)

if __name__ == "__main__":
    main()
