"""Cuts seeds for fuzz_cfi from the .eh_frame sections of ELF files.

    python3 tests/fuzz/make_cfi_seeds.py tests/fuzz/corpus/cfi FILE..

One seed a file for each kind of record that is found first: a header with a table of one function, its CIE and its FDE, laid
out as they were, with their addresses relative to where they are now.
"""

import struct
import sys
from pathlib import Path


def sections(data):
    """{name: (address, bytes)} of a little-endian ELF64 file."""
    offset, size, count, names = *struct.unpack_from("<Q", data, 0x28), *struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(count)]
    strings = headers[names][4]
    found = {}
    for name, kind, _, address, at, length in headers:
        end = data.index(b"\0", strings + name)
        if kind != 8:  # SHT_NOBITS
            found[data[strings + name : end].decode()] = (address, data[at : at + length])
    return found


def records(frame):
    """(offset, whole record, offset of its CIE or None) of 32-bit records."""
    at = 0
    while at + 8 <= len(frame):
        length, pointer = struct.unpack_from("<II", frame, at)
        if length in (0, 0xFFFFFFFF):
            return
        yield at, frame[at : at + 4 + length], at + 4 - pointer if pointer else None
        at += 4 + length


def seed(cie, fde, begin_distance, stack, registers):
    """A segment of header, table of one, CIE, FDE; the function begins `begin_distance` behind the segment."""
    head = 12 + 8
    cie_at, fde_at = head, head + len(cie)
    fde = bytearray(fde)
    struct.pack_into("<I", fde, 4, fde_at + 4 - cie_at)
    struct.pack_into("<i", fde, 8, begin_distance - (fde_at + 8))
    header = struct.pack("<BBBBiI", 1, 0x1B, 0x03, 0x3B, cie_at - 4, 1) + struct.pack("<ii", begin_distance, fde_at)
    size = struct.unpack_from("<I", fde, 12)[0]
    prefix = struct.pack("<iHBB", begin_distance + max(0, min(size - 1, size * 3 // 4)), 0, stack, registers)
    return prefix + header + cie + bytes(fde) + b"\0\0\0\0"


def interesting(fde, seen):
    """New opcodes, so that a few seeds hold them all."""
    codes = {byte if byte < 0x40 else byte & 0xC0 for byte in fde[17:]}
    new = codes - seen
    seen |= codes
    return bool(new)


def main():
    folder, files = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    seen, cies, count = set(), set(), 0
    for file in files:
        _, frame = sections(Path(file).read_bytes())[".eh_frame"]
        known = {at: record for at, record, cie in records(frame) if cie is None}
        for _, fde, cie_at in records(frame):
            if cie_at not in known or len(fde) > 2000:
                continue
            cie = known[cie_at]
            if not interesting(fde, seen) and cie in cies:
                continue
            cies.add(cie)
            made = seed(cie, fde, 4096, count % 4, (count * 37) % 256)
            (folder / f"{Path(file).name.split('.')[0]}-{count:02}").write_bytes(made)
            count += 1
    print(count, "seeds")


if __name__ == "__main__":
    main()
