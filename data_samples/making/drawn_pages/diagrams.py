"""Diagrams, SVG in a page."""

from data_samples.making.drawn_pages.page import SANS, Page


def _box(x: int, y: int, w: int, h: int, text: str, fill: str = "#fff", shape: str = "box") -> str:
    cx, cy = x + w // 2, y + h // 2
    outline = {
        "box": f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8"/>',
        "round": f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{h // 2}"/>',
        "diamond": f'<polygon points="{cx},{y} {x + w},{cy} {cx},{y + h} {x},{cy}"/>',
        "store": f'<path d="M{x},{y + 12} a{w // 2},12 0 0 1 {w},0 v{h - 24} a{w // 2},12 0 0 1 {-w},0 z"/>'
        f'<path d="M{x},{y + 12} a{w // 2},12 0 0 0 {w},0" fill="none"/>',
    }[shape]
    lines = text.split("|")
    words = "".join(
        f'<text x="{cx}" y="{cy + 6 + 21 * k - 21 * (len(lines) - 1) / 2}" text-anchor="middle">{t}</text>'
        for k, t in enumerate(lines)
    )
    return f'<g fill="{fill}" stroke="#333" stroke-width="2">{outline}</g>{words}'


def _arrow(points: str, label: str = "", at: tuple[int, int] = (0, 0), dash: bool = False) -> str:
    style = ' stroke-dasharray="7 5"' if dash else ""
    line = f'<polyline points="{points}" fill="none" stroke="#333" stroke-width="2" marker-end="url(#a)"{style}/>'
    return line + (f'<text x="{at[0]}" y="{at[1]}" font-size="16" fill="#444">{label}</text>' if label else "")


def _svg(width: int, height: int, title: str, *parts: str, background: str = "#fff", font: str = SANS) -> Page:
    head = f'<text x="30" y="42" font-size="25" font-weight="700">{title}</text>'
    marker = (
        '<defs><marker id="a" markerWidth="9" markerHeight="9" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z" fill="#333"/></marker></defs>'
    )
    svg = f'<svg width="{width}" height="{height}" font-family="{font}" font-size="18">'.replace("'", "")
    return width, height, f"<style>body{{background:{background}}}</style>{svg}{marker}{head}{''.join(parts)}</svg>"


def diagram_parcel() -> Page:
    return _svg(
        940,
        880,
        "Missing parcel: what to do",
        _box(340, 70, 240, 60, "Customer reports|a missing parcel", "#dbe9f6", "round"),
        _arrow("460,130 460,168"),
        _box(330, 170, 260, 130, "Delivery date|passed?", "#fdf1c7", "diamond"),
        _arrow("590,235 690,235", "no", (625, 226)),
        _box(692, 200, 210, 70, "Ask to wait|two working days", "#fff"),
        _arrow("460,300 460,348", "yes", (472, 330)),
        _box(330, 350, 260, 130, "Tracking says|“delivered”?", "#fdf1c7", "diamond"),
        _arrow("330,415 232,415", "no", (270, 406)),
        _box(20, 380, 210, 70, "Open a search|with the carrier"),
        _arrow("460,480 460,528", "yes", (472, 510)),
        _box(330, 530, 260, 130, "Left with|a neighbour?", "#fdf1c7", "diamond"),
        _arrow("590,595 690,595", "yes", (622, 586)),
        _box(692, 560, 210, 70, "Send name of|the neighbour"),
        _arrow("460,660 460,708", "no", (472, 690)),
        _box(350, 710, 220, 60, "Refund or send again", "#f9d9d5"),
        _arrow("125,450 125,740 348,740", "not found after 5 days", (136, 640)),
        _arrow("460,770 460,808"),
        _box(380, 810, 160, 46, "Close case", "#d9efdc", "round"),
        _arrow("797,630 797,833 542,833"),
    )


def diagram_metro() -> Page:
    lines = {
        "#d62828": [(80, 180), (220, 180), (360, 260), (500, 260), (640, 260), (780, 180), (900, 180)],
        "#1d6fb8": [(220, 560), (360, 480), (360, 370), (360, 260), (360, 150), (480, 100)],
        "#2a9d4a": [(80, 430), (220, 430), (360, 480), (500, 480), (640, 400), (640, 260), (640, 130)],
        "#e6930a": [(780, 560), (640, 400), (500, 260), (640, 130)],
    }
    names = {
        (80, 180): "Westgate", (220, 180): "Zoo", (360, 260): "Town Hall", (500, 260): "Opera", (640, 260): "Old Port",
        (780, 180): "Shipyard", (900, 180): "Lighthouse", (220, 560): "Stadium", (360, 480): "Mill Bridge",
        (360, 370): "Library", (360, 150): "Museum", (480, 100): "North Hill", (80, 430): "Brewery",
        (220, 430): "Gardens", (500, 480): "Theatre", (640, 400): "Fish Market", (640, 130): "Observatory",
        (780, 560): "Beach",
    }  # fmt: skip
    parts = []
    for color, points in lines.items():
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="11" stroke-linejoin="round"/>'
        )
    moved = {"Museum": (-78, 6), "Opera": (-42, -24), "Old Port": (18, 34), "Theatre": (-20, 34), "Stadium": (-25, 34)}
    for (x, y), name in names.items():
        dx, dy = moved.get(name, (16, -15))
        crossing = sum((x, y) in points for points in lines.values()) > 1
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="{13 if crossing else 9}" fill="#fff" stroke="#222" stroke-width="4"/>'
            f'<text x="{x + dx}" y="{y + dy}" font-size="17">{name}</text>'
        )
    key = [("#d62828", "Line 1"), ("#1d6fb8", "Line 2"), ("#2a9d4a", "Line 3"), ("#e6930a", "Line 4")]
    for k, (color, text) in enumerate(key):
        parts.append(
            f'<rect x="880" y="{440 + 36 * k}" width="40" height="11" fill="{color}"/>'
            f'<text x="930" y="{452 + 36 * k}">{text}</text>'
        )
    return _svg(1020, 620, "Metro of Port Ellis", *parts, background="#fbfbf6")


def diagram_circuit() -> Page:
    wire = 'fill="none" stroke="#222" stroke-width="3"'

    def resistor(x: int, y: int, name: str, value: str, turn: bool = False) -> str:
        zigzag = "0,0 8,-12 22,12 36,-12 50,12 64,-12 72,0"
        spin = f"rotate(90 {x} {y})" if turn else ""
        at = (x + 22, y + 32) if turn else (x + 10, y - 24)
        return (
            f'<g transform="{spin}"><polyline transform="translate({x} {y})" points="{zigzag}" {wire}/></g>'
            f'<text x="{at[0]}" y="{at[1]}">{name}</text>'
            f'<text x="{at[0]}" y="{at[1] + (22 if turn else 60)}">{value}</text>'
        )

    def lamp(x: int, y: int, name: str) -> str:
        return (
            f'<circle cx="{x}" cy="{y}" r="24" fill="#fff8d6" stroke="#222" stroke-width="3"/>'
            f'<path d="M{x - 17},{y - 17} l34,34 M{x + 17},{y - 17} l-34,34" {wire}/>'
            f'<text x="{x + 34}" y="{y + 6}">{name}</text>'
        )

    return _svg(
        900,
        600,
        "Fig. 3 – Two lamps in parallel",
        f'<path d="M130,260 V130 H240 M316,130 H430 M502,130 H760 V200 M760,248 V330 M760,402 V500 H130 V300" {wire}/>',
        f'<path d="M560,130 V200 M560,248 V500" {wire}/>',
        f'<path d="M240,130 L310,96" {wire}/><circle cx="240" cy="130" r="5"/><circle cx="316" cy="130" r="5"/>',
        '<text x="262" y="84">S1</text><text x="240" y="164" font-size="16">(open)</text>',
        f'<path d="M95,260 H165" {wire}/><path d="M112,276 H148 M95,284 H165 M112,300 H148" {wire}/>',
        '<text x="40" y="285">9 V</text><text x="172" y="262">+</text>',
        resistor(430, 130, "R1", "47 Ω"),
        lamp(560, 224, "L1"),
        lamp(760, 224, "L2"),
        resistor(760, 330, "R2", "120 Ω", turn=True),
        '<circle cx="560" cy="130" r="6"/><circle cx="560" cy="500" r="6"/>',
        '<circle cx="330" cy="500" r="26" fill="#fff" stroke="#222" stroke-width="3"/>'
        '<text x="330" y="507" text-anchor="middle">A</text><text x="290" y="556">ammeter</text>',
    )


def diagram_services() -> Page:
    return _svg(
        1000,
        640,
        "Booking service – overview",
        '<rect x="300" y="80" width="420" height="520" rx="14" fill="#f1f5fb" stroke="#9db4d3" stroke-dasharray="8 6"/>'
        '<text x="320" y="110" fill="#4a6a95">private network</text>',
        _box(40, 130, 170, 70, "Web browser", "#fff"),
        _box(40, 280, 170, 70, "Mobile app", "#fff"),
        _arrow("210,165 330,205", "HTTPS", (228, 160)),
        _arrow("210,315 330,245", "HTTPS", (226, 318)),
        _box(332, 185, 160, 80, "API gateway", "#cfe3c9"),
        _arrow("492,205 568,165"),
        _arrow("492,225 568,265"),
        _arrow("492,250 568,365"),
        _box(570, 130, 130, 64, "Users", "#fff3cd"),
        _box(570, 235, 130, 64, "Rooms", "#fff3cd"),
        _box(570, 340, 130, 64, "Payments", "#fff3cd"),
        _arrow("635,404 635,448", "events", (645, 434)),
        _box(560, 450, 150, 64, "Queue", "#ead7f2"),
        _arrow("560,482 494,482"),
        _box(332, 450, 160, 64, "Mail worker", "#cfe3c9"),
        _arrow("700,162 798,162"),
        _box(800, 115, 150, 92, "PostgreSQL|port 5432", "#dbe9f6", "store"),
        _arrow("700,255 770,255 798,190"),
        _arrow("700,372 798,372", dash=True),
        _box(800, 337, 150, 70, "Card provider|(external)", "#f9d9d5"),
        _arrow("412,514 412,556 798,556", dash=True),
        _box(800, 521, 150, 70, "SMTP relay|(external)", "#f9d9d5"),
    )


def diagram_tree() -> Page:
    parts = []
    places = {
        "Ingrid Falk|Director": (400, 70), "Omar Reyes|Production": (110, 220), "Lena Busch|Finance": (400, 220),
        "Yuki Tan|Sales": (690, 220), "Carl Moss|Assembly": (10, 370), "Nadia Orlov|Quality": (210, 370),
        "Piet Daal|Payroll": (400, 370), "Ana Prieto|Export": (590, 370), "Sam Okoro|Web shop": (790, 370),
        "Elif Aksoy|Night shift": (10, 510),
    }  # fmt: skip
    parents = {
        "Omar": "Ingrid", "Lena": "Ingrid", "Yuki": "Ingrid", "Carl": "Omar", "Nadia": "Omar", "Piet": "Lena",
        "Ana": "Yuki", "Sam": "Yuki", "Elif": "Carl",
    }  # fmt: skip
    where = {name.split()[0]: at for name, at in places.items()}
    for child, parent in parents.items():
        (x, y), (px, py) = where[child], where[parent]
        path = f"M{px + 90},{py + 70} V{y - 30} H{x + 90} V{y}"
        parts.append(f'<path d="{path}" fill="none" stroke="#5b6b7a" stroke-width="2"/>')
    fills = {70: "#23395b", 220: "#b9d6f2", 370: "#e7f0f8", 510: "#f6f6f6"}
    for name, (x, y) in places.items():
        box = _box(x, y, 180, 70, name, fills[y])
        parts.append(box.replace("<text ", '<text fill="#fff" ') if y == 70 else box)
    return _svg(980, 620, "Falk Bicycles – who reports to whom", *parts)
