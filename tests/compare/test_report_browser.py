"""The report in a real browser: silent, self-contained, and readable on a phone."""

import shutil

import pytest
import report_samples as samples

from peerlearn.compare.report import write_report

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on the PATH"),
]

LONG = "a-model-with-a-very-long-name-that-no-phone-can-hold-in-one-line"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    root = tmp_path_factory.mktemp("reports")
    folders = {
        "two": samples.compare_folder(root / "two", seeds=(0, 1, 2), epochs=4),
        "many": samples.compare_folder(
            root / "many",
            arms={"mutual": 1.0, "renyi-0.5": 0.4, LONG: -0.6, "independent": 0.0},
            peers=(LONG, *(f"peer-{index}" for index in range(7))),
            seeds=(0, 1),
            epochs=4,
            stages=("pre-training", "mutual"),
        ),
        "run": samples.run_folder(root / "run", epochs=4),
        "unsure": samples.measure_uncertainty(
            samples.compare_folder(root / "unsure", seeds=(0, 1), epochs=4), ["mnist", LONG]
        ),
        "masks": samples.hang_gallery(
            samples.measure_classes(
                samples.compare_folder(root / "masks", seeds=(0, 1), epochs=4),
                [LONG, *(f"class-{index}" for index in range(10))],
            ),
            ["background", LONG, "class-0"],
        ),
    }
    return {name: write_report([folder], root / f"{name}.html") for name, folder in folders.items()}


def opened(browser, path, width=360, scheme="light"):
    """The page, and everything it said or asked for while it was opened."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    errors, requests = [], []
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, errors, requests


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")


@pytest.mark.parametrize("name", ["two", "many", "run", "unsure", "masks"])
def test_the_page_is_silent_and_asks_for_nothing_but_itself(browser, reports, name):
    page, errors, requests = opened(browser, reports[name])
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [reports[name].as_uri()]
    page.context.close()


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("name", ["two", "many", "run", "unsure", "masks"])
def test_nothing_is_wider_than_the_screen(browser, reports, name, width):
    page, _, _ = opened(browser, reports[name], width)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.context.close()


@pytest.mark.parametrize("name", ["two", "many", "run", "unsure", "masks"])
def test_a_phone_shows_the_answer_first_and_the_rest_folded(browser, reports, name):
    page, _, _ = opened(browser, reports[name], 390)
    assert page.evaluate("document.documentElement.scrollHeight") < 7_000
    curves = page.locator("#s1-curves figure").first
    assert not curves.is_visible()
    page.locator("#s1-curves summary").first.click()
    assert curves.is_visible()
    page.context.close()


@pytest.mark.parametrize(("width", "seen"), [(390, True), (1280, False)])
def test_a_table_that_is_cut_says_so(browser, reports, width, seen):
    page, _, _ = opened(browser, reports["two"], width)
    table = page.locator("#s1-comparison .scroll").first
    assert table.evaluate("it => it.scrollWidth > it.clientWidth") == seen
    assert page.locator("#s1-comparison .hint").first.is_visible() == seen
    page.context.close()


@pytest.mark.parametrize("name", ["two", "many", "run", "unsure", "masks"])
def test_every_figure_is_there_and_its_text_readable_on_a_phone(browser, reports, name):
    page, _, _ = opened(browser, reports[name])
    unfold(page)
    figures = page.evaluate(
        """[...document.querySelectorAll('figure svg.chart')].map(svg => {
            const box = svg.getBoundingClientRect(), scale = svg.getScreenCTM().a;
            const texts = [...svg.querySelectorAll('text')];
            return {
                label: svg.getAttribute('aria-label'), width: box.width, height: box.height,
                smallest: Math.min(...texts.map(
                    text => scale * parseFloat(getComputedStyle(text).fontSize))),
                out: texts.filter(text => {
                    const own = text.getBoundingClientRect();
                    return own.left < 0 || own.right > window.innerWidth;
                }).map(text => text.textContent),
            };
        })"""
    )
    assert len(figures) >= 10
    for figure in figures:
        assert figure["width"] > 250, figure
        assert figure["height"] > 60, figure
        assert figure["smallest"] >= 9, figure
        assert figure["out"] == [], figure
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_page(browser, reports, scheme):
    page, _, _ = opened(browser, reports["two"], scheme=scheme)
    pairs = page.evaluate(
        """[...document.querySelectorAll('p, h1, h3, td, th, dt, dd, svg.chart text')].map(node => {
            const style = getComputedStyle(node);
            return [node.matches('svg *') ? style.fill : style.color,
                    getComputedStyle(document.body).backgroundColor];
        })"""
    )
    worst = min(_contrast(*pair) for pair in {tuple(pair) for pair in pairs})
    assert worst >= 4.5  # WCAG AA for text
    page.context.close()


def test_pictures_of_the_gallery_load_and_keep_their_shape(browser, reports):
    page, _, _ = opened(browser, reports["masks"])
    pictures = page.evaluate(
        """[...document.querySelectorAll('.gallery img')].map(image => [
            image.complete, image.naturalWidth, image.clientWidth - image.clientHeight])"""
    )
    assert len(pictures) == 2 * 2 * 6  # arms, images; image, truth, a, b, ensemble, disagreement
    assert all(picture == [True, 24, 0] for picture in pictures)
    page.context.close()


def _contrast(first: str, second: str) -> float:
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
