"""Measurements on hidden states and on models, one file each."""
