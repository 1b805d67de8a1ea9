"""Charts, documents, diagrams, screenshots and signs that are drawn for data_samples/photos; see __main__.py."""
