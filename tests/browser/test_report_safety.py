"""Text from the data does nothing in the report page, and nothing but the page's own code runs."""

from probe.report import Subject
from tests import profiles
from tests.browser.window import Window
from tests.unit.probe.report.test_report import hostile_profile

ATTACKS = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<a href=\"javascript:document.title='owned'\">press</a>",
    "<a href='https://example.org'>press</a>%{x}",
)


def test_hostile_text_is_shown_and_does_nothing(window: Window) -> None:
    attack = " ".join(ATTACKS)
    profile = hostile_profile(attack)
    window.open([Subject(profile, profiles.observations(profile, samples=3, examples=1, text=attack))])
    window.draw_all()
    assert window.value("document.querySelector('h1').textContent") == attack
    assert window.chrome.title == f"halfv-probe: {attack}"
    links = window.value(
        "[...document.querySelectorAll('a')].map(a => a.getAttribute('href') || a.getAttribute('xlink:href'))"
    )
    assert all(link.startswith("#") for link in links)
    assert window.value("document.querySelectorAll('body img').length") == 0
    answer = window.value("document.querySelector('.card dd:last-of-type').textContent.trim()")
    assert answer.startswith(attack)
    assert window.errors() == []
    assert window.requests() <= {"file", "data", "blob", "about"}


def test_hostile_names_are_compared_as_text(window: Window) -> None:
    window.open([Subject(hostile_profile(attack)) for attack in ATTACKS[2:]])
    for id in [id for id in window.charts() if id.startswith("all-")]:
        window.draw(id)
    assert window.value("document.querySelectorAll('.chart a').length") == 0
    assert window.errors() == []


def test_the_policy_blocks_a_script_that_is_not_the_reports_own(window: Window) -> None:
    window.open([Subject(profiles.qwen_like())])
    window.run(
        "const own = document.createElement('script'); own.textContent = 'window.owned = true';"
        "document.body.append(own);"
    )
    assert window.value("window.owned") is None
