"""Small data that ships with the package: drawn scenes, photos, and the small models trained on the scenes.

Others find it as `halfv_core.bundled.BUNDLED`. Not in the wheel: making/ and studies/, which need a clone.
"""
