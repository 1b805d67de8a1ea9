"""What drawn pages share: what a page is, lettering, and tables."""

SANS = "Lato, 'Liberation Sans', 'DejaVu Sans', sans-serif"
SERIF = "'EB Garamond', 'Liberation Serif', 'DejaVu Serif', serif"
MONO = "'JetBrains Mono', 'DejaVu Sans Mono', monospace"
Page = tuple[int, int, str]
"""Width, height, and the HTML between the body tags."""


def table(rows: list[list[str]], head: bool = True) -> str:
    """An HTML table, its first row a header or not."""
    lines = ["<table>"]
    for k, row in enumerate(rows):
        tag = "th" if head and k == 0 else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])
