"""The command line `halfv-probe`: one file per command, which parses, calls one function of probe, and prints.

What does not belong here: anything that measures or decides, and imports of torch at the top of a module.
"""
