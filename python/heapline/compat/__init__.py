"""Modules with the interfaces of other profilers, for programs that were written for those."""
