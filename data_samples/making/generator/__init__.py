"""Drawn scenes: what is in them (content), what can be asked (questions), how they look (drawing)."""
