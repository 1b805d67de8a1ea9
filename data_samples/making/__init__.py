"""What made the data beside it: scenes, drawn pages, and the training of the bundled models. Not in the wheel."""
