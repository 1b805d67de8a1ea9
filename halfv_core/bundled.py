"""Where the models, scenes, photos and profiles that come with the package are, in a clone and in an installation."""

from pathlib import Path

BUNDLED = Path(__file__).parents[1] / "data_samples"
