"""Fuzzing of every parser of hostile files: short in the tests, long by `python -m tests.fuzzing`.

The corpus holds a seed or more for each parser, and every case that once broke one.
"""
