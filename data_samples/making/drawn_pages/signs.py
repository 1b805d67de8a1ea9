"""Signs."""

from data_samples.making.drawn_pages.page import MONO, SANS, SERIF, Page, table


def sign_hours() -> Page:
    rows = [
        ["Monday", "closed"],
        ["Tuesday", "9:00 – 12:30"],
        ["Wednesday", "9:00 – 18:00"],
        ["Thursday", "9:00 – 18:00"],
        ["Friday", "9:00 – 19:30"],
        ["Saturday", "8:00 – 14:00"],
    ]
    return (
        760,
        860,
        f"""<style>body{{margin:0;padding:70px 90px;background:radial-gradient(circle at 30% 20%,#9a8f80,#5d554b)}}
        .p{{background:linear-gradient(160deg,#fffef8,#efe9d8);border-radius:8px;padding:34px 44px;box-shadow:0 14px
        30px #0009;
        font:25px {SANS};border:3px solid #26443a;color:#20352d}} td{{padding:8px 0;width:220px}}
        td:last-child{{text-align:right}} h1{{font:700 46px {SERIF};margin:0 0 4px;text-align:center}}
        h2{{text-align:center;font-size:23px;margin:0 0 18px}}</style><div class=p><h1>Paper &amp; Twine</h1>
        <h2>Bookbinding · Stationery</h2><b>Opening hours</b>{table(rows, head=False)}
        <p style="font-size:20px">Lunch break on Wednesday and Thursday from 13:00 to 14:00</p>
        <p style="font-size:20px;background:#26443a;color:#fff;padding:10px;text-align:center">Closed 5 – 18 August</p>
        <p style="font-size:20px;text-align:center;margin-bottom:0">Please ring twice for the workshop.</p></div>""",
    )


def sign_parking() -> Page:
    plate = (
        "background:#fff;border:6px solid {0};border-radius:16px;width:330px;margin:0 auto 14px;padding:14px;color:{0}"
    )
    return (
        640,
        900,
        f"""<style>body{{margin:0;background:linear-gradient(#9cc4e8,#e3eef6 75%,#8d9a86 76%,#76836f);text-align:center;
        font:700 34px {SANS};position:relative}} .q{{position:absolute;left:305px;top:0;width:30px;height:900px;
        background:linear-gradient(90deg,#777,#ccc,#777)}} .s{{position:relative;padding-top:46px}}
        p{{margin:4px}}</style>
        <div class=q></div><div class=s><div style="{plate.format("#b3141b")}"><p style="font-size:60px">NO PARKING</p>
        <p>7 AM – 9 AM</p><p>MON THRU FRI</p><p style="font-size:50px">←</p></div>
        <div style="{plate.format("#157a3c")}"><p style="font-size:84px">2 HOUR</p><p style="font-size:44px">PARKING</p>
        <p>9 AM – 6 PM</p><p>EXCEPT SUNDAY</p><p style="font-size:50px">→</p></div>
        <div style="{plate.format("#1f3f8f")};font-size:24px"><p>Permit zone K exempt</p></div></div>""",
    )


def sign_trail() -> Page:
    def plate(text: str, note: str, right: bool, color: str) -> str:
        tip = (
            "polygon(0 0,88% 0,100% 50%,88% 100%,0 100%)" if right else "polygon(12% 0,100% 0,100% 100%,12% 100%,0 50%)"
        )
        place = "margin-left:330px" if right else "margin-left:70px"
        pad = "padding:14px 60px 14px 24px" if right else "padding:14px 24px 14px 66px"
        return (
            f"<div style='width:480px;{place};{pad};box-sizing:border-box;margin-bottom:16px;"
            f"background:{color};clip-path:{tip}'>"
            f"{text}<span style='float:right'>{note}</span></div>"
        )

    return (
        880,
        760,
        f"""<style>body{{margin:0;background:linear-gradient(#86b4dd,#dfeaf2 48%,#5f8a4b 48.5%,#3f6a33);
        position:relative;
        font:700 25px {SANS};color:#1d1d1d}} .q{{position:absolute;left:415px;top:40px;width:44px;height:720px;
        background:linear-gradient(90deg,#5c3d22,#8a6039,#5c3d22)}} .s{{position:relative;padding-top:90px}}</style>
        <div class=q></div><div class=s>{plate("Eagle Rock", "3 h 20", True, "#f4c430")}
        {plate("Blue Tarn", "45 min", False, "#f4c430")}{plate("Shepherd’s Hut", "1 h 10", True, "#f4c430")}
        {plate("Village, bus stop", "25 min", False, "#f1ede2")}{plate("Waterfall (closed)", "—", True, "#e2a59b")}
        <div style="width:230px;margin:26px 0 0 322px;background:#f1ede2;text-align:center;padding:9px 0;
        font-size:20px">
        Birch Saddle<br>1,486 m</div></div>""",
    )


def sign_departures() -> Page:
    trains = [
        ["Time", "Train", "To", "Platform", "Remarks"],
        ["14:02", "RE 7", "Kaltbach – Ostheim", "4", "on time"],
        ["14:09", "IC 512", "Grand Port", "9", "about 25 min late"],
        ["14:15", "S 3", "Airport", "1", "on time"],
        ["14:21", "RE 12", "Felsen – Marienau", "6", "cancelled"],
        ["14:30", "EC 88", "Lindova", "11", "platform changed"],
        ["14:34", "S 1", "Weidental", "2", "on time"],
        ["14:47", "IC 907", "Sorrenta", "8", "on time"],
    ]
    board = (
        table(trains).replace("<td>cancelled", "<td class=r>cancelled").replace("<td>platform", "<td class=r>platform")
    )
    return (
        1020,
        600,
        f"""<style>body{{margin:0;background:#2f3338;padding:34px;font:25px {MONO};color:#ffc53a}}
        .p{{background:#07090c;border:10px solid #1a1d22;border-radius:8px;padding:18px 26px;box-shadow:0 10px 30px
        #000}}
        table{{width:100%;border-collapse:collapse}} td,th{{text-align:left;padding:9px 6px;border-bottom:1px solid
        #22252b}}
        th{{color:#fff;font-size:18px}} .r{{color:#ff5a4a}} h1{{color:#fff;font:700 30px {SANS};margin:0 0 8px}}</style>
        <div class=p><h1>Departures <span style="float:right">13:58</span></h1>{board}</div>""",
    )
