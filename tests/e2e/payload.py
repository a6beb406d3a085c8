"""Reads the numbers out of an HTML report, as docs/report-format.md has them; made from that page, not from the writer."""

from __future__ import annotations

import base64
import json
import re
import zlib


class Broken(Exception):
    pass


def varints(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
    if shift:
        raise Broken("a number is cut off")


def unzigzag(value):
    return -(value >> 1) - 1 if value & 1 else value >> 1


def unpack(kind, data, rows):
    values = []
    if kind == "u":
        values = list(varints(data))
    elif kind == "s":
        values = [unzigzag(value) for value in varints(data)]
    elif kind == "d":
        before = 0
        for value in varints(data):
            before += unzigzag(value)
            values.append(before)
    elif kind == "r":
        numbers = list(varints(data))
        for value, count in zip(numbers[::2], numbers[1::2], strict=True):
            values += [value] * count
    else:
        raise Broken(f"a column of kind {kind}")
    if len(values) != rows:
        raise Broken(f"{len(values)} values for {rows} rows")
    return values


class Payload:
    """meta, and tables as lists: payload.table["stat"]["live"][row]. NULL is None."""

    def __init__(self, stream):
        data = zlib.decompress(stream, 31)
        if data[:4] != b"HLP1":
            raise Broken("no payload")
        begin = 8 + int.from_bytes(data[4:8], "little")
        header = json.loads(data[8:begin].decode("utf-8"))
        if header["format"] != 1:
            raise Broken("another format")
        self.meta = header["meta"]
        self.table, self.rows = {}, {}
        end = begin
        for name, table in header["tables"].items():
            self.rows[name] = table["rows"]
            self.table[name] = columns = {}
            for column, about in table["columns"].items():
                at = begin + about["at"]
                part = data[at : at + about["bytes"]]
                if len(part) != about["bytes"] or at < begin:
                    raise Broken(f"{name}.{column} is outside")
                end = max(end, at + len(part))
                if about["kind"] == "b":
                    columns[column] = part
                    continue
                values = unpack(about["kind"], part, table["rows"])
                if max(values, default=0) >= 1 << 53:
                    raise Broken(f"{name}.{column} is too large")
                columns[column] = [value - 1 if value else None for value in values] if about.get("null") else values
        if end != len(data):
            raise Broken("there is more than the header says")
        self.strings = [text.decode("utf-8") for text in self.texts("strings")]
        self.sources = self.texts("source")

    def texts(self, name):
        if name not in self.table:
            return []
        texts, at = [], 0
        for length in self.table[name]["length"]:
            texts.append(self.table[name]["text"][at : at + length])
            at += length
        if at != len(self.table[name]["text"]):
            raise Broken(f"{name} has more text than rows")
        return texts

    def column(self, table, name):
        """Zeros where it is not there."""
        return self.table[table].get(name, [0] * self.rows[table])


def blobs(page):
    """The payloads of a page: {"data": bytes, "old": bytes}."""
    found = re.findall(rb'<script type="application/octet-stream" id="heapline-([a-z]+)">([^<]*)</script>', page)
    return {name.decode(): base64.b64decode(text, validate=True) for name, text in found}


def read(page):
    return {name: Payload(stream) for name, stream in blobs(page).items()}
