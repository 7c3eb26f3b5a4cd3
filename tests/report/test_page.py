"""The report is one file that needs nothing else, and says what the numbers say."""

import re

import pytest
from matplotlib.figure import Figure

from jaxmi.challenges.challenge import Challenge
from jaxmi.report.page import (
    HOLDS,
    IN_PART,
    MAIN,
    NOT_SHOWN,
    Page,
    Row,
    Section,
    png,
    render,
    render_seeds,
    shown,
    summarise,
    verdict,
)


def page(**changes) -> Page:
    sections = (
        Section(
            "First <claim>",
            "One paragraph\n   over two lines.\n\nAnother.",
            png(dots=Figure(figsize=(1, 1))),
            (
                Row("a share", "share", "random", "random groups"),
                Row("unpublished", "logit_diff_mean"),
                Row("absent", "nothing"),
            ),
            HOLDS,
            "96 % against 50 %",
            "def label(image):\n    return image < 3",
        ),
        Section("No claim", "Text."),
        Section("Second claim", "Text.", verdict=NOT_SHOWN),
    )
    values = {"share": 0.9612, "random": 0.5, "logit_diff_mean": -1.234}
    return Page(
        "A & B", "what it is", "the claim", sections, "what it does not show", "jaxmi explain x",
        values, {"share": 0.95}, **changes,
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
    section = Section(
        "S", "t", rows=[Row("a share", "share")], networks={"this": "", "other": "control_x_"}
    )
    values = {"share": 0.9, "control_x_share": 0.4}
    html = render(Page("t", "s", "c", [section], "n", "x", values, {"share": 0.95}))
    table = html[html.index("<table>") :]
    assert re.findall(r"<th>(.*?)</th>", table) == ["figure", "this", "other"]
    assert re.findall(r'<td class="n">(.*?)</td>', table) == ["90.0%", "40.0%"]


def test_every_verdict_links_to_its_own_section() -> None:
    html = render(page())
    links = dict(re.findall(r'<a href="#(s\d)">([^<]+)</a>', html))
    headings = dict(re.findall(r'<h2 id="(s\d)">([^<]+?)\s*<', html))
    assert links == {"s1": "First &lt;claim&gt;", "s2": "Second claim"} == headings


@pytest.mark.parametrize(
    ("value", "control", "expected"),
    [(0.95, 0.5, HOLDS), (0.9, 0.85, HOLDS), (0.89, 0.5, IN_PART), (0.95, 0.91, NOT_SHOWN),
     (0.5, 0.6, NOT_SHOWN)],
)  # fmt: skip
def test_a_verdict_needs_a_high_share_and_a_lower_control(value, control, expected) -> None:
    assert verdict(value, control) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("armwise_true", 0.98765, "98.8%"), ("neurons_left", 34, "34"), ("zero_one_mean", -1.0,
     "-1.00"), ("recovered_clue_index", 6, "6"), ("recovered_clue_index", 31771.0, "31,771"),
     ("mlp_zero_kept", 0.8134, "81.3%"), ("recovered_clue_margin", 0.00214, "0.0021"),
     ("scrub_0.1_logit_error", 10.69, "10.69"), ("anything", None, "-"),
     ("anything", float("inf"), "-")],
)  # fmt: skip
def test_figures_are_written_as_what_they_are(key, value, expected) -> None:
    assert shown(value, key) == expected


def test_the_page_of_a_run_has_a_line_per_seed_and_the_medians(cnn: Challenge) -> None:
    seeds = {
        f"seed-{i:05d}": dict.fromkeys(MAIN["cnn"], 0.9 + i / 100) | {"recovered_clue_index": 6}
        for i in range(3)
    }
    seeds["seed-00001"]["armwise_true"] = None
    html = render_seeds(cnn, seeds)
    assert re.findall(r'href="([^"]+)"', html) == [f"{name}/report.html" for name in seeds]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    published, medians, *lines = rows[1:]
    column = 1 + list(MAIN["cnn"]).index("armwise_true")
    assert [row[column] for row in (published, medians, *lines)] == [
        "94%", "91.0%", "90.0%", "-", "92.0%",
    ]  # fmt: skip
    assert "://" not in html


def test_a_run_is_summed_up_by_medians_and_of_an_image_by_the_most_frequent() -> None:
    seeds = [
        {"a": 1.0, "clue_index": 6, "only": 3},
        {"a": 5.0, "clue_index": 31771},
        {"a": None, "clue_index": 6},
    ]
    assert summarise(seeds) == {"a": 3.0, "clue_index": 6, "only": 3}
    assert summarise([{"a": None}]) == {"a": None}
