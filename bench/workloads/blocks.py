"""Blocks of mixed sizes, most of them larger than what Python's own allocator serves, in a window of live ones."""

import workload

WINDOW = 2048


def sizes(seed):
    """Sizes of 16 bytes to 256 KiB, small ones far more often, always in the same order."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        yield 16 + (seed >> 33) % (16 << (seed >> 60))


def blocks(scale):
    window = [b""] * WINDOW
    size = sizes(1)
    checksum = 0
    for i in range(scale):
        n = next(size)
        slot = n * 31 + i & WINDOW - 1
        checksum += len(window[slot]) * (i & 15)
        window[slot] = bytearray(n)
    return checksum


workload.run(blocks, 1_500_000)
