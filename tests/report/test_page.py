"""The report is one file that needs nothing else, and says what the numbers say."""

import re

from matplotlib.figure import Figure

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.cnn_metrics import ARMWISE, FIT_CLUE_INDEX, MAIN, TABLE
from jaxmi.explanation.metrics import Control, Metric, Unit
from jaxmi.explanation.verdicts import HOLDS, NOT_SHOWN
from jaxmi.report.page import Page, Section, png, render, render_seeds

RANDOM = Metric("random", "random groups kept", Unit.SHARE)
SHARE = Metric("share", "a share", Unit.SHARE, 0.95, Control(RANDOM, "random groups"))
LOGIT = Metric("logit_diff_mean", "unpublished", Unit.LOGIT)
ABSENT = Metric("nothing", "absent", Unit.SHARE)


def page(**changes) -> Page:
    sections = (
        Section(
            "First <claim>",
            "One paragraph\n   over two lines.\n\nAnother.",
            png(dots=Figure(figsize=(1, 1))),
            (SHARE, LOGIT, ABSENT),
            HOLDS,
            "96 % against 50 %",
            "def label(image):\n    return image < 3",
        ),
        Section("No claim", "Text."),
        Section("Second claim", "Text.", verdict=NOT_SHOWN),
    )
    metrics = {"share": 0.9612, "random": 0.5, "logit_diff_mean": -1.234}
    return Page(
        "A & B", "what it is", "the claim", sections, "what it does not show", "jaxmi explain x",
        metrics, **changes,
    )  # fmt: skip


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = render(page())
    assert "://" not in html
    assert not re.search(r"<(script|link|iframe)", html)
    sources = re.findall(r'src="([^"]{0,30})', html)
    assert sources == ["data:image/png;base64,iVBORw0K"]
    assert '<meta name="viewport"' in html


def test_text_and_code_are_shown_as_they_are_and_paragraphs_kept() -> None:
    html = render(page())
    assert "First &lt;claim&gt;" in html
    assert "A &amp; B" in html
    assert "<p>One paragraph over two lines.</p>" in html
    assert "return image &lt; 3" in html
    assert "what it does not show" in html
    assert "jaxmi explain x" in html


def test_rows_have_their_published_value_and_control_beside_them() -> None:
    html = render(page())
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html, re.S)
    row = [re.sub(r"<[^>]+>", "", cell).strip() for cell in cells]
    assert row[:4] == ["a share", "96.1%", "95%", "50.0% random groups"]
    assert row[4:8] == ["unpublished", "-1.23", "-", ""]
    assert "absent" not in html  # a figure that this network does not have


def test_networks_stand_in_columns_of_their_own() -> None:
    other = Metric("control_x_share", "a share, other network", Unit.SHARE)
    section = Section("S", "t", comparison={"this": [SHARE], "other": [other]})
    metrics = {"share": 0.9, "control_x_share": 0.4}
    html = render(Page("t", "s", "c", [section], "n", "x", metrics))
    table = html[html.index("<table>") :]
    assert re.findall(r"<th>(.*?)</th>", table) == ["metric", "this", "other"]
    assert re.findall(r"<td>(.*?)</td>", table) == ["a share"]
    assert re.findall(r'<td class="n">(.*?)</td>', table) == ["90.0%", "40.0%"]


def test_without_published_values_there_is_no_column_for_them() -> None:
    html = render(Page("t", "s", "c", [Section("S", "t", {}, (LOGIT,))], "n", "x", {LOGIT.key: 2}))
    assert "published network" in render(page())
    assert "published network" not in html


def test_every_verdict_links_to_its_own_section() -> None:
    html = render(page())
    links = dict(re.findall(r'<a href="#(s\d)">([^<]+)</a>', html))
    headings = dict(re.findall(r'<h2 id="(s\d)">([^<]+?)\s*<', html))
    assert links == {"s1": "First &lt;claim&gt;", "s2": "Second claim"} == headings


def test_the_page_of_a_run_has_a_line_per_seed_and_the_medians(cnn: Challenge) -> None:
    keys = [metric.key for metric in MAIN]
    seeds = {
        f"seed-{i:05d}": dict.fromkeys(keys, 0.9 + i / 100) | {FIT_CLUE_INDEX.key: 6}
        for i in range(3)
    }
    seeds["seed-00001"][ARMWISE.kept.key] = None
    html = render_seeds(cnn.title, TABLE, MAIN, seeds)
    assert re.findall(r'href="([^"]+)"', html) == [f"{name}/report.html" for name in seeds]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    published, medians, *lines = rows[1:]
    column = 1 + MAIN.index(ARMWISE.kept)
    assert [row[column] for row in (published, medians, *lines)] == [
        "94%", "91.0%", "90.0%", "-", "92.0%",
    ]  # fmt: skip
    assert "://" not in html
