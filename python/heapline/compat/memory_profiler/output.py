"""The table of lines as text, and a file-like object that logs it."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import linecache
import logging
import sys


def show_results(prof, stream=None, precision=1):
    """Writes a table for each function that was measured."""
    stream = sys.stdout if stream is None else stream
    template = "{0:>6} {1:>12} {2:>12}  {3:>10}   {4:<}"
    number = f"{{:{precision + 4}.{precision}f}} MiB"
    for filename, lines in prof.code_map.items():
        header = template.format("Line #", "Mem usage", "Increment", "Occurrences", "Line Contents")
        stream.write("Filename: " + filename + "\n\n")
        stream.write(header + "\n")
        stream.write("=" * len(header) + "\n")
        text = linecache.getlines(filename)
        for lineno, measures in lines:
            increment = usage = occurrences = ""
            if measures:
                increment, usage, occurrences = number.format(measures[0]), number.format(measures[1]), measures[2]
            source = text[lineno - 1] if lineno <= len(text) else ""
            line = template.format(lineno, usage, increment, occurrences, source)
            stream.write(line if line.endswith("\n") else line + "\n")
        stream.write("\n\n")


class LogFile:
    """A file-like object that sends what is written to a logger; with reportIncrementFlag only headings and lines whose
    increment is above zero."""

    def __init__(self, name=None, reportIncrementFlag=False):
        self.logger = logging.getLogger(name)
        self.reportIncrementFlag = reportIncrementFlag

    def write(self, msg, level=logging.INFO):
        if not self.reportIncrementFlag or "Filename:" in msg or "Line Contents" in msg or self._grew(msg):
            self.logger.log(level, msg)

    @staticmethod
    def _grew(msg):
        parts = msg.split("MiB")
        try:
            return len(parts) > 2 and float(parts[1]) > 0
        except ValueError:  # a source line that says MiB
            return False

    def flush(self):
        for handler in self.logger.handlers:
            handler.flush()
