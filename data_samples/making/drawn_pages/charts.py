"""Charts: each function takes pyplot, which has its style set, and leaves the current figure drawn."""

from random import Random
from typing import Any

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def chart_bicycles(plt: Any) -> None:
    _, ax = plt.subplots(figsize=(8, 5))
    ax.bar(DAYS, [1240, 1385, 1310, 1420, 1175, 860, 690], color=["#3b7ea1"] * 5 + ["#c4820e"] * 2, width=0.65)
    ax.set(title="Bicycles on Harbour Bridge, daily mean in May", ylabel="Bicycles per day", ylim=(0, 1600))
    ax.grid(axis="y", color="#dddddd")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def chart_temperatures(plt: Any) -> None:
    _, ax = plt.subplots(figsize=(9, 5.2))
    towns = {
        "Arvik": [-7, -6, -2, 3, 9, 14, 17, 15, 10, 5, -1, -5],
        "Belmora": [3, 4, 7, 11, 15, 19, 22, 21, 17, 12, 7, 4],
        "Castellan": [11, 12, 14, 16, 20, 24, 28, 28, 24, 20, 15, 12],
    }
    for (town, values), marker, color in zip(towns.items(), "os^", ["#1f4e9c", "#3a9a4a", "#d1402c"], strict=True):
        ax.plot(MONTHS, values, marker=marker, color=color, label=town, linewidth=2)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(title="Mean temperature by month", ylabel="Temperature (°C)", ylim=(-10, 31))
    ax.grid(alpha=0.35)
    ax.legend(title="Town", loc="upper left")


def chart_electricity(plt: Any) -> None:
    _, ax = plt.subplots(figsize=(7.2, 6))
    uses = {
        "Space heating": 34,
        "Hot water": 18,
        "Refrigeration": 16,
        "Electronics": 15,
        "Cooking": 9,
        "Lighting": 8,
    }
    colors = ["#e07a5f", "#3d405b", "#81b29a", "#f2cc8f", "#8d6a9f", "#6ba4c8"]
    _, _, shares = ax.pie(
        uses.values(), labels=uses.keys(), autopct="%d%%", colors=colors, startangle=90, pctdistance=0.75
    )
    shares[1].set_color("white")
    ax.set_title("Electricity used at home, 2023")


def chart_flats(plt: Any) -> None:
    rng = Random(4)
    _, ax = plt.subplots(figsize=(8.5, 5.4))
    for name, base, slope, marker, color in (
        ("City centre", 420, 13.5, "o", "#b5179e"),
        ("Suburbs", 260, 8.0, "x", "#2a6f97"),
    ):
        areas = [rng.uniform(24, 100) for _ in range(18)]
        rents = [base + slope * a + rng.gauss(0, 55) for a in areas]
        ax.scatter(areas, rents, marker=marker, color=color, label=name)
    ax.scatter([112], [640], marker="x", color="#2a6f97")
    ax.annotate("ground floor,\nno heating", (112, 640), (97, 430), arrowprops={"arrowstyle": "->"}, fontsize=10)
    ax.set(title="Asking rents in Port Ellis, March", xlabel="Floor area (m²)", ylabel="Rent (EUR per month)")
    ax.set(xlim=(20, 120), ylim=(300, 2000))
    ax.legend(loc="upper left")


def chart_power(plt: Any) -> None:
    _, ax = plt.subplots(figsize=(8.6, 5.6))
    years = ["2019", "2020", "2021", "2022", "2023", "2024"]
    sources = {
        "Gas": ([42, 39, 36, 33, 27, 22], "#8c8c8c"),
        "Hydro": ([18, 19, 17, 18, 16, 18], "#2c7fb8"),
        "Wind": ([12, 15, 17, 21, 26, 30], "#7fcdbb"),
        "Solar": ([4, 6, 8, 11, 15, 19], "#fdae61"),
    }
    floor = [0] * len(years)
    for name, (values, color) in sources.items():
        bars = ax.bar(years, values, bottom=floor, label=name, color=color, width=0.7)
        ax.bar_label(bars, label_type="center", fontsize=10)
        floor = [a + b for a, b in zip(floor, values, strict=True)]
    ax.set(title="Power generation by source (TWh)", ylim=(0, 105))
    ax.legend(ncols=4, loc="upper center", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def chart_visits(plt: Any) -> None:
    _, ax = plt.subplots(figsize=(8.6, 5.4))
    hours = ["9–11", "11–13", "13–15", "15–17", "17–19", "19–21"]
    rows = [
        [34, 52, 61, 88, 73, 20],
        [28, 47, 58, 91, 69, 25],
        [41, 63, 84, 97, 65, 18],
        [30, 49, 60, 86, 112, 57],
        [37, 55, 66, 79, 48, 12],
        [95, 128, 119, 83, 31, 0],
    ]
    ax.imshow(rows, cmap="YlGnBu", aspect="auto")
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            ax.text(x, y, value, ha="center", va="center", color="white" if value > 75 else "black")
    ax.set_xticks(range(len(hours)), hours)
    ax.set_yticks(range(len(rows)), ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"])
    ax.set_title("Visitors in the town library, by day and hour")


def chart_survey(plt: Any) -> None:
    with plt.style.context("dark_background"):
        figure, ax = plt.subplots(figsize=(9, 5.2))
        figure.set_facecolor("#16202c")
        ax.set_facecolor("#16202c")
        answers = {
            "Price": 27,
            "Battery life": 64,
            "Weight": 38,
            "Screen": 49,
            "Keyboard": 33,
            "Repairability": 52,
            "Colour": 9,
        }
        bars = ax.barh(list(answers), list(answers.values()), color="#35c2b4", height=0.6)
        ax.bar_label(bars, fmt="%d%%", padding=4)
        ax.invert_yaxis()
        ax.set(title="“What matters most in a laptop?” (n = 1,204, several answers allowed)", xlim=(0, 75))
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.tick_params(bottom=False, labelbottom=False)
