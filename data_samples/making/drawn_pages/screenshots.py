"""Screenshots of programs that do not exist."""

from data_samples.making.drawn_pages.page import MONO, SANS, Page


def shot_shop() -> Page:
    shapes = {
        "stove": "M70,95 h80 l-12,-30 h-56 z M60,60 h100 v-8 h-100 z M95,52 v-24 h30 v24 z",
        "bag": "M40,80 q0,-45 50,-45 h70 q25,0 25,22 t-25,23 z M160,40 q18,6 18,17 t-18,17 z",
        "torch": "M55,70 q55,-60 110,0 l-8,8 q-47,-50 -94,0 z M90,55 h40 v32 h-40 z",
        "tent": "M25,95 L110,20 L195,95 z M92,95 L110,55 L128,95 z",
        "bottle": "M92,30 h36 v-14 h-36 z M84,44 q0,-10 10,-10 h32 q10,0 10,10 v56 h-52 z",
        "poles": "M70,105 L96,20 h8 L78,105 z M142,105 L116,20 h8 L150,105 z",
    }
    goods = [
        ("stove", "Camping stove “Ember”", "49.90", "★★★★☆ (212)", "", "#c8553d"),
        ("bag", "Sleeping bag, −5 °C", "119.00", "★★★★★ (87)", "−20%", "#588157"),
        ("torch", "Head torch 400 lm", "27.50", "★★★☆☆ (340)", "", "#d99a1c"),
        ("tent", "Two-person tent", "189.00", "★★★★☆ (58)", "New", "#3d5a80"),
        ("bottle", "Steel bottle 1 l", "18.90", "★★★★★ (1,043)", "", "#7d8597"),
        ("poles", "Trekking poles, pair", "64.00", "★★★★☆ (129)", "Sold out", "#6d597a"),
    ]
    cards = "".join(
        f"""<div class=k><div style="height:120px;background:linear-gradient(#fbfbfb,#e2e4e2);position:relative">
        {f"<span class=g>{flag}</span>" if flag else ""}<svg width=212 height=120 style="position:absolute;left:0;
        top:0">
        <path d="{shapes[shape]}" fill="{color}" stroke="#0005" stroke-width="2" fill-rule="evenodd"/></svg></div>
        <b>{name}</b><br><span style="color:#e39a00">{stars}</span><br><b style="font-size:21px">€ {price}</b>
        <button {"disabled" if flag == "Sold out" else ""}>Add to cart</button></div>"""
        for shape, name, price, stars, flag, color in goods
    )
    return (
        1020,
        720,
        f"""<style>body{{margin:0;font:15px {SANS};background:#f4f5f3;color:#222}} .h{{background:#1f3d2b;color:#fff;
        padding:14px 26px;display:flex;gap:24px;align-items:center}}
        .h input{{flex:1;padding:9px;border:0;border-radius:5px;
        font-size:15px}} .g{{background:#d62828;color:#fff;font-weight:700;padding:4px 9px}} .n{{padding:11px 26px;
        background:#fff;border-bottom:1px solid #ddd}} .n span{{margin-right:26px}} .l{{display:flex}}
        .f{{width:190px;padding:20px 26px;line-height:1.9}} .p{{display:grid;grid-template-columns:repeat(3,1fr);
        gap:16px;
        padding:20px 26px 20px 0;flex:1}} .k{{background:#fff;border:1px solid #ddd;padding:12px;line-height:1.6}}
        button{{float:right;background:#1f3d2b;color:#fff;border:0;padding:7px 12px;border-radius:4px}}
        button:disabled{{background:#bbb}}</style>
        <div class=h><b style="font-size:24px">▲ Ridgeline Outdoor</b><input value="camping" readonly>
        <span>Sign in</span><span>Cart (3)</span></div>
        <div class=n><span>Jackets</span><span>Boots</span><span><b><u>Camping</u></b></span><span>Climbing</span>
        <span style="color:#d62828">Sale</span><span style="float:right">Free delivery from € 75</span></div>
        <div class=l><div class=f><b>Price</b><br>☐ up to € 25<br>☑ € 15 – 200<br><b>Brand</b><br>☑ Ember<br>
        ☑ Norrby<br>
        ☐ Kestrel<br>☑ Tarn &amp; Fell<br><b>Rating</b><br>☑ 3 stars and more<br><br>6 of 48 products</div>
        <div class=p>{cards}</div></div>""",
    )


def shot_settings() -> Page:
    rows = [
        ("Wi-Fi", "Connected to “Sycamore_5G”", True),
        ("Bluetooth", "2 devices: Mouse M20, Headphones", True),
        ("Airplane mode", "", False),
        ("Night light", "From 21:30 to 06:15", True),
        ("Location services", "3 apps used your location", False),
        ("Automatic updates", "Last checked today at 08:47", True),
    ]
    body = "".join(
        f"<div class=r><div><b>{name}</b><br><small>{note or '&nbsp;'}</small></div>"
        f"<div class='s {'on' if on else ''}'><i></i></div></div>"
        for name, note, on in rows
    )
    side = "".join(
        f"<div class='m {'x' if name == 'Quick settings' else ''}'>{name}</div>"
        for name in ("Account", "Quick settings", "Display", "Sound", "Power", "Storage", "Keyboard", "About")
    )
    return (
        900,
        640,
        f"""<style>body{{margin:0;padding:30px;background:linear-gradient(120deg,#6d83b5,#b08bb3);font:16px {SANS}}}
        .w{{background:#fafafa;border-radius:12px;overflow:hidden;height:580px;box-shadow:0 12px 40px #0006}}
        .t{{background:#ebebeb;padding:12px;text-align:center;font-weight:700}} .b{{display:flex}}
        .i{{width:190px;background:#f0f0f0;height:540px;padding-top:10px}} .m{{padding:11px 20px}}
        .x{{background:#3584e4;color:#fff;border-radius:7px;margin:0 8px;padding:11px 12px}}
        .c{{flex:1;padding:6px 30px}}
        .r{{display:flex;justify-content:space-between;align-items:center;border-bottom:1px solid #ddd;padding:11px 0}}
        .s{{width:52px;height:28px;border-radius:14px;background:#c4c4c4;position:relative}} .s.on{{background:#3584e4}}
        .s i{{position:absolute;width:24px;height:24px;border-radius:12px;background:#fff;top:2px;left:2px}}
        .s.on i{{left:26px}} small{{color:#777}}</style>
        <div class=w><div class=t><span style="float:right">— ▢ ✕</span>Settings</div><div class=b><div class=i>
        {side}</div>
        <div class=c>{body}<p>Brightness <input type=range value=70 style="width:230px;vertical-align:middle"> 70 %
        &nbsp;&nbsp; Battery: <b>43 %</b></p></div></div></div>""",
    )


def shot_editor() -> Page:
    code = [
        '<k>from</k> dataclasses <k>import</k> dataclass', "", "", "@dataclass", "<k>class</k> <f>Reading</f>:",
        '    <s>"""One value of a rain gauge."""</s>', "    station: str", "    hour: int",
        "    millimetres: float", "", "",
        "<k>def</k> <f>wettest</f>(readings: list[Reading]) -> str:",
        '    <s>"""The station with the most rain in total."""</s>', "    totals: dict[str, float] = {}",
        "    <k>for</k> r <k>in</k> readings:", "        <k>if</k> r.millimetres &lt; <n>0</n>:",
        '            <k>raise</k> ValueError(<s>f"bad value at {r.station}"</s>)',
        "        totals[r.station] = totals.get(r.station, <n>0.0</n>) + r.millimetres",
        "    <k>return</k> max(totals, key=<e>total</e>.get)",
    ]  # fmt: skip
    lines = "".join(
        f"<div class='{'cur' if k == 19 else ''}'><span class=n>{k}</span>{line.replace('    ', '&nbsp;' * 4)}</div>"
        for k, line in enumerate(code, start=1)
    )
    tree = "▾ rainfall<br>&nbsp; ▾ src<br>&nbsp;&nbsp;&nbsp; __init__.py<br>&nbsp;&nbsp;&nbsp; <b>gauge.py</b> ●<br>"
    tree += "&nbsp;&nbsp;&nbsp; plot.py<br>&nbsp;&nbsp;&nbsp; units.py<br>"
    tree += "&nbsp; ▸ tests<br>&nbsp; LICENSE<br>&nbsp; setup.cfg"
    return (
        1000,
        680,
        f"""<style>body{{margin:0;background:#1e1f26;color:#d5d8de;font:15px {SANS}}} .g{{display:flex;height:560px}}
        .t{{width:190px;background:#17181d;padding:14px;line-height:1.9}}
        .c{{flex:1;font:15px/1.62 {MONO};padding-top:10px}}
        .n{{display:inline-block;width:42px;text-align:right;margin-right:18px;color:#697080}} k{{color:#c792ea}}
        f{{color:#82aaff}} s{{color:#a5d27a;text-decoration:none}} n{{color:#f78c6c}} .cur{{background:#2a2c36}}
        e{{text-decoration:underline wavy #ff5370}} .h span{{display:inline-block;padding:10px 18px;background:#262832}}
        .b{{background:#31508c;padding:6px 16px;color:#fff}}
        .p{{background:#17181d;padding:10px 16px;border-top:1px solid #333}}
        </style><div class=h><span style="background:#1e1f26;border-top:2px solid #82aaff">gauge.py ●</span>
        <span>plot.py</span><span>test_gauge.py</span></div><div class=g><div class=t>{tree}</div><div class=c>
        {lines}</div></div>
        <div class=p><b style="color:#ff5370">✖ error</b> &nbsp;Undefined name “total” &nbsp;<span
        style="color:#8a90a0">gauge.py
        [Ln 19, Col 28]</span></div><div class=b>⎇ main* &nbsp;&nbsp; ✖ 1 &nbsp; ⚠ 0 <span style="float:right">
        Ln 19, Col 28
        &nbsp; Spaces: 4 &nbsp; UTF-8 &nbsp; Python 3.12</span></div>""",
    )
