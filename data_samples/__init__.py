"""Small data that ships with the repository: drawn scenes, photos, and the small models trained on the scenes."""
