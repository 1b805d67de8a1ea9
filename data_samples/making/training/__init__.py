"""Seeded, resumable training of the small models in data_samples/models on drawn scenes."""
