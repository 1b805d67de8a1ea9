"""Small data that ships with the package: drawn scenes, photos, and the small models trained on the scenes.

`halfv_core.bundled` says where it is. The wheel leaves out making/ and studies/, which are used from a clone.
"""
