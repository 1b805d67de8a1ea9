"""The command line `halfv-probe`: one file per command."""
