"""Documents."""

from data_samples.making.drawn_pages.page import SANS, SERIF, Page, table


def doc_invoice() -> Page:
    items = [
        ["Pos.", "Description", "Qty", "Unit price", "Amount"],
        ["1", "Oak shelf board, 80 × 24 cm", "6", "€ 18.50", "€ 111.00"],
        ["2", "Wall bracket, black steel", "12", "€ 4.20", "€ 50.40"],
        ["3", "Hard wax oil, 0.75 l", "2", "€ 23.90", "€ 47.80"],
        ["4", "Sanding block, fine", "5", "€ 2.60", "€ 13.00"],
        ["5", "Delivery, zone B", "1", "€ 14.90", "€ 14.90"],
    ]
    sums = [["Subtotal", "€ 237.10"], ["VAT 20 %", "€ 47.42"], ["<b>Total due</b>", "<b>€ 284.52</b>"]]
    return (
        780,
        1000,
        f"""<style>body{{font:15px {SANS};padding:55px 60px;background:#fff;color:#222}} h1{{letter-spacing:3px}}
        table{{border-collapse:collapse;width:100%;margin-top:26px}} th{{text-align:left;border-bottom:2px solid #444}}
        td,th{{padding:8px 6px}} td{{border-bottom:1px solid #ddd}}
        td:nth-child(n+3),th:nth-child(n+3){{text-align:right}}
        .s table{{width:45%;margin-left:55%}} .s td:nth-child(2){{text-align:right}}
        .two{{display:flex;justify-content:space-between;line-height:1.5}}</style>
        <div class=two><div><b style="font-size:22px;color:#7a4b1e">Lindqvist &amp; Daughters</b><br>
        Joinery supplies<br>
        14 Tannery Lane<br>4870 Osterhamn</div><h1>INVOICE</h1></div>
        <div class=two style="margin-top:30px"><div>Bill to:<br><b>Café Morgenrot</b><br>Ms. Petra Olander<br>
        3 Quay Street<br>4868 Osterhamn</div>
        <div>Invoice no.: <b>2024-0387</b><br>Date: 12 September 2024<br>Due: 12 October 2024<br>
        Customer no.: K-5519</div></div>
        {table(items)}<div class=s>{table(sums, head=False)}</div>
        <p style="margin-top:40px">Please pay within 30 days and give the invoice number. Thank you for your order!</p>
        <p style="color:#777;font-size:13px;border-top:1px solid #bbb;padding-top:12px;margin-top:60px">
        Osterhamn Savings Bank · Account 0481 6620 913 · Workshop open Tue–Sat 8 am – 4 pm · Tel. 555 0142</p>""",
    )


def doc_letter() -> Page:
    return (
        780,
        1000,
        f"""<style>body{{font:19px/1.45 {SERIF};padding:60px 75px;background:#fbf8ef;color:#1b1b1b}}</style>
        <div style="text-align:right">Harriet Voss<br>22 Millbrook Road<br>Fernleigh<br><br>3 March 2024</div>
        <p>Fernleigh Allotment Society<br>c/o Mr. Tobias Grange<br>Old Schoolhouse<br>Fernleigh</p>
        <p><b>Broken pump at plot 17</b></p><p>Dear Mr. Grange,</p>
        <p>As I told you at the meeting on 24 February, the hand pump beside plot 17 has stopped working. The handle
        moves, but no water comes up. Four neighbours and I have carried water from the brook since then.</p>
        <p>I asked Mr. Ainsley of Ainsley Wells for an estimate. He would replace the leather cup and the lower valve
        for £85, and could come on Tuesday, 19 March, in the morning. A new pump would cost £340.</p>
        <p>I suggest that the society has the old pump repaired. May I accept his offer in the society's name? As
        seedlings will go out in April, I would be glad of an answer before 12 March.</p>
        <p>The gate lock is stiff as well, but a drop of oil may be enough for that.</p>
        <p>With kind regards,</p><p style="font:italic 34px {SERIF};color:#1d2f6f;margin:8px 0">Harriet Voss</p>
        <p style="font-size:16px">Enclosed: estimate by Ainsley Wells (1 page)</p>""",
    )


def doc_recipe() -> Page:
    return (
        820,
        800,
        f"""<style>body{{font:17px/1.5 {SANS};padding:45px 55px;background:#fffdf7;color:#332}}
        h1{{font:700 40px {SERIF};color:#8c2f1b;margin:0}} h2{{color:#8c2f1b;font-size:19px;margin-bottom:4px}}
        .m span{{background:#f3e3cf;border-radius:14px;padding:5px 14px;margin-right:10px}}
        .c{{display:flex;gap:45px}} ul{{padding-left:20px;margin-top:4px}} li{{margin-bottom:5px}}</style>
        <h1>Lentil and Leek Pie</h1><p><i>A winter dish from the Weissach valley, best on the second day.</i></p>
        <p class=m><span>Serves 6</span><span>Prep 35 min</span><span>Oven 50 min</span><span>Easy</span></p>
        <div class=c><div style="flex:0 0 270px"><h2>For the crust</h2><ul><li>300 g spelt flour</li>
        <li>150 g cold butter</li><li>1 egg</li><li>½ tsp salt</li></ul>
        <h2>For the filling</h2><ul><li>200 g brown lentils</li><li>3 leeks</li><li>2 carrots</li>
        <li>200 ml cream</li><li>3 eggs</li><li>120 g mountain cheese</li><li>1 tsp mustard</li><li>Nutmeg, pepper</li>
        </ul></div><div><h2>Method</h2><ol style="padding-left:20px"><li>Rub butter into the flour with the salt, add
        the egg, press together and chill for 30 minutes.</li><li>Boil the lentils for 20 minutes without salt, then
        drain well.</li><li>Slice leeks and carrots and soften them in a pan with a little butter for 8 minutes.</li>
        <li>Roll out the dough, line a 26 cm tin and prick it with a fork.</li><li>Whisk cream, eggs, mustard and
        spices. Fold in lentils, vegetables and two thirds of the cheese.</li><li>Fill the tin, scatter the rest of the
        cheese on top and bake at 190 °C until golden.</li><li>Leave to rest for 15 minutes before cutting.</li></ol>
        <p style="border-left:4px solid #c98b5e;padding-left:12px"><b>Tip:</b> Without cream it works with 180 g
        natural yoghurt. Freeze slices for up to two months.</p></div></div>
        <p style="text-align:center;color:#998;margin-top:30px">— 64 —</p>""",
    )


def doc_timetable() -> Page:
    stops = ["Central Station", "Market Square", "Hospital", "University", "Lakeside Park", "Airport, Terminal 2"]
    starts = [(5, 42), (6, 12), (6, 42), (7, 2), (7, 22), (7, 42), (8, 12)]
    offsets = [0, 4, 9, 15, 21, 38]
    rows = [["Run", "101", "103", "105", "107 S", "109", "111", "113"]]
    for stop, offset in zip(stops, offsets, strict=True):
        times = [divmod(h * 60 + m + offset, 60) for h, m in starts]
        skips = stop == "Hospital"
        rows.append([stop, *("–" if skips and k in (0, 4) else f"{h}:{m:02d}" for k, (h, m) in enumerate(times))])
    return (
        980,
        500,
        f"""<style>body{{font:18px {SANS};padding:30px 36px;background:#fff}}
        table{{border-collapse:collapse;width:100%}}
        td,th{{padding:9px 8px;text-align:center}} td:first-child,th:first-child{{text-align:left;font-weight:700}}
        tr:nth-child(even){{background:#e8f0f7}} th{{border-bottom:3px solid #005a9c}}
        .n{{background:#005a9c;color:#fff;font-weight:900;font-size:34px;padding:6px 18px;border-radius:6px}}</style>
        <p><span class=n>48</span> &nbsp;<b style="font-size:26px">Central Station → Airport</b>
        <span style="float:right">Monday to Friday<br>valid from 11 December</span></p>
        {table(rows)}<p style="font-size:15px;margin-top:22px">– does not stop here &nbsp;&nbsp; <b>S</b>
        runs on school
        days only &nbsp;&nbsp; Night bus N8 leaves Market Square at 0:15, 1:45 and 3:15.<br>Bicycles are carried free of
        charge after 9:00. Customer service: Kiosk at platform 3, open 6:30–19:00.</p>""",
    )


def doc_form() -> Page:
    def line(label: str, value: str, width: int = 320) -> str:
        label = f"<span style='display:inline-block;width:190px'>{label}</span>"
        return f"<p>{label}<span class=i style='width:{width}px'>{value}</span></p>"

    def boxes(label: str, options: list[str], ticked: set[str]) -> str:
        marks = "".join(
            f"<span style='margin-right:22px'><span class=b>{'✗' if o in ticked else ''}</span>{o}</span>"
            for o in options
        )
        return f"<p><span style='display:inline-block;width:190px'>{label}</span>{marks}</p>"

    return (
        800,
        1000,
        f"""<style>body{{font:17px {SANS};padding:40px 50px;background:#fdfdfb}} p{{margin:13px 0}}
        .i{{display:inline-block;border-bottom:1px solid #555;font:italic 23px {SERIF};color:#1a2f86;min-height:26px}}
        .b{{display:inline-block;width:19px;height:19px;border:1.5px solid #333;margin-right:6px;text-align:center;
        vertical-align:middle;line-height:19px;color:#1a2f86;font-weight:900;font-size:22px}}
        h2{{background:#33544a;color:#fff;font-size:17px;padding:6px 10px;margin-top:24px}}</style>
        <h1 style="font-size:27px">Riverbank Rowing Club – Membership form</h1>
        <p style="color:#555">Please write in block letters or clearly. Fields with * are required.</p>
        <h2>1 &nbsp; Person</h2>
        {line("First name *", "Matteo")}{line("Surname *", "Kaltenbrunner")}{line("Date of birth *", "17 / 06 / 1991")}
        {line("Street, number", "Alder Way 58 b")}{line("Town", "Niederwald")}{line("Phone", "")}
        <h2>2 &nbsp; Membership</h2>
        {boxes("Kind *", ["Adult", "Student", "Family", "Supporter"], {"Student"})}
        {boxes("Payment *", ["monthly", "quarterly", "yearly"], {"yearly"})}
        {boxes("Locker", ["yes", "no"], {"yes"})}
        <h2>3 &nbsp; Experience</h2>
        {boxes("Boats", ["single", "double", "four", "eight"], {"double", "four"})}
        {boxes("I can swim *", ["yes", "no"], {"yes"})}{line("Size of club shirt", "L", 90)}
        {line("Place, date *", "Niederwald, 2 May 2024")}{line("Signature *", "M. Kaltenbrunner")}
        <p style="border:1px solid #999;padding:10px;margin-top:26px;color:#444">For the office: &nbsp; received
        <b>6 May</b> &nbsp;&nbsp; member no. <b>0732</b> &nbsp;&nbsp; locker <b>C 14</b> &nbsp;&nbsp; fee <b>€ 96</b>
        </p>""",
    )
