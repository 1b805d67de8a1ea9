"""Composed pictures: captioned cut-outs on backgrounds, and questions with one right answer each."""
