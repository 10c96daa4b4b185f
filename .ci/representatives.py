"""This script names one model for each class of each module of a run, the smallest: `representatives.py RUN`."""

from __future__ import annotations

import sys

from conformance.record_file import read_run


def main(file: str) -> None:
    """Print the names, one a line."""
    smallest: dict[tuple[str | None, str | None], tuple[int, str]] = {}
    for record in read_run(file).records:
        kind, one = (record.module, record.class_name), (record.params or 0, record.model)
        smallest[kind] = min(smallest.get(kind, one), one)
    print("\n".join(sorted(name for _, name in smallest.values())))


if __name__ == "__main__":
    main(*sys.argv[1:])
