"""python -m heapline: the command itself, in place of this interpreter."""

import os
import sys

from heapline._binary import binary


def main() -> None:
    try:
        path = binary()
    except FileNotFoundError as error:
        sys.exit(f"heapline: {error}")
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    main()
