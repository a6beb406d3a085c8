"""wheel_check.py --glibc 2.17 --processor x86_64 WHEEL...: whether what is in a wheel runs on any Linux with that glibc.

Each executable and library must be for the processor, need no library but those of glibc itself, and no symbol version of
glibc above the limit. Prints a line for each, exits 1 when one fails. Reads ELF itself: it needs no tool and nothing installed.
"""

import argparse
import struct
import sys
import zipfile

GLIBC = {
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
MACHINES = {"x86_64": 62, "aarch64": 183}


class Elf:
    """A 64-bit little-endian ELF file: its machine, needed libraries, and needed versions of symbols."""

    def __init__(self, data):
        self.data = data
        self.machine = struct.unpack_from("<H", data, 18)[0]
        at, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]

    def _text(self, section, offset):
        at = self.sections[section][4] + offset
        return self.data[at : self.data.index(b"\0", at)].decode()

    def _of_type(self, kind):
        return [section for section in self.sections if section[1] == kind]

    def needed(self):
        for section in self._of_type(6):  # SHT_DYNAMIC
            for at in range(section[4], section[4] + section[5], 16):
                tag, value = struct.unpack_from("<qQ", self.data, at)
                if tag == 1:
                    yield self._text(section[6], value)

    def versions(self):
        for section in self._of_type(0x6FFFFFFE):  # SHT_GNU_verneed
            at = section[4]
            while True:
                _, count, _, names, following = struct.unpack_from("<HHIII", self.data, at)
                name_at = at + names
                for _ in range(count):
                    _, _, _, name, step = struct.unpack_from("<IHHII", self.data, name_at)
                    yield self._text(section[6], name)
                    name_at += step
                if not following:
                    break
                at += following


def number(version):
    return tuple(int(part) for part in version.split("."))


def faults(elf, limit, machine):
    if elf.machine != machine:
        yield f"is for machine {elf.machine}, not {machine}"
    for library in elf.needed():
        if library not in GLIBC:
            yield f"needs {library}"
    for version in elf.versions():
        family, _, rest = version.partition("_")
        if family != "GLIBC" or not rest[:1].isdigit():
            yield f"needs symbols of version {version}"
        elif number(rest) > number(limit):
            yield f"needs symbols of {version}"


def newest(elf):
    found = [version[6:] for version in elf.versions() if version[:6] == "GLIBC_" and version[6:7].isdigit()]
    return max(found, key=number, default="none")


def elves(path):
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            data = wheel.read(name)
            if data[:4] == b"\x7fELF":
                yield name, Elf(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--glibc", required=True)
    parser.add_argument("--processor", required=True, choices=MACHINES)
    parser.add_argument("wheels", nargs="+")
    arguments = parser.parse_args()
    bad = 0
    for path in arguments.wheels:
        found = list(elves(path))
        if len(found) < 2:
            print(f"{path}: {len(found)} executables and libraries, not 2")
            bad += 1
        for name, elf in found:
            wrong = list(faults(elf, arguments.glibc, MACHINES[arguments.processor]))
            print(f"{name}: {'; '.join(wrong) or 'glibc ' + newest(elf) + ' and later'}", flush=True)
            bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
