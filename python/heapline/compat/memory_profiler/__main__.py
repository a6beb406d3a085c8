"""python -m heapline.compat.memory_profiler"""

import sys

from .command import main

main(sys.argv[1:])
