"""The site is built with warnings as errors and opened in a browser that reaches no other host."""

import ast
import functools
import html
import html.parser
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from sngan_jax import layers

ROOT = Path(__file__).parents[1]
PAGES = ("index", "start", "commands", "layers", "configs", "data", "metrics", "audit", "scaling",
         "reliability", "generated/notebooks/01_why_lipschitz",
         "generated/notebooks/04_the_paper", "generated/minimal", "performance", "compile_check",
         "comparison", "results", "gallery", "generated/results/fashion_mnist_table2", "reproduce",
         "paper", "report", "extend", "architecture", "contributing", "api", "changelog",
         "generated/sngan_jax.spectral", "generated/sngan_jax.layers",
         "generated/sngan_jax.experiments.configs.digits")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    pytest.importorskip("sphinx", reason='the site needs pip install "sngan_jax[docs]"')
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
         "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
        cwd=ROOT, capture_output=True, text=True, timeout=550, env={**os.environ,
                                                                   "JAX_PLATFORMS": "cpu"})
    assert built.returncode == 0, built.stderr
    return folder / "html"


class Links(html.parser.HTMLParser):
    """Links of a page, and its own targets for links."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.ids = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.add(value)
            elif name == "id":
                self.ids.add(value)


def test_every_page_and_place_that_is_linked_is_there(site):
    pages = {page: Links(page.read_text()) for page in site.rglob("*.html")
             if "_static" not in page.parts}
    for page, links in pages.items():
        for target in links.targets:
            parts = urllib.parse.urlsplit(target)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ("https", "http", "data"), f"{page.name}: {target}"
                continue
            path = urllib.parse.unquote(parts.path)
            other = (page.parent / path).resolve() if path else page
            assert other.exists(), f"{page.relative_to(site)} refers to {target}"
            if parts.fragment and other in pages:
                assert urllib.parse.unquote(parts.fragment) in pages[other].ids, (
                    f"{page.relative_to(site)} refers to {target}")


def test_every_module_has_its_page(site):
    for file in (ROOT / "sngan_jax").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        assert (site / "generated" / f"{name}.html").exists()


@pytest.fixture(scope="module")
def address(site):
    """Address at which the site is served."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(
            ("localhost", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that can reach localhost only."""
    webdriver = pytest.importorskip("selenium.webdriver",
                                    reason='the browser needs pip install "sngan_jax[docs]"')
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1300,1000",
                     "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_script_timeout(60)
    yield chrome
    chrome.quit()


def opened(browser, url):
    """Opens a page and waits for its mathematics."""
    browser.get(url)
    browser.execute_async_script("""
        const done = arguments[0];
        if (window.MathJax) MathJax.startup.promise.then(() => done()); else done();""")
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_it_holds(browser, address, page):
    opened(browser, f"{address}/{page}.html")
    heading, text = browser.execute_script(
        "return [document.querySelector('h1').innerText, document.querySelector('article')"
        ".innerText.length]")
    assert heading and text > 300
    for source, width in browser.execute_script(
            "return [...document.images].map(image => [image.src, image.naturalWidth])"):
        assert width > 0, source
    # MathJax puts a container into each formula, and an error into one that it cannot read.
    formulas, shown, wrong = browser.execute_script("""
        const widths = [...document.querySelectorAll('.math mjx-container')].map(
            formula => formula.getBoundingClientRect().width);
        return [document.querySelectorAll('.math').length,
                widths.filter(width => width > 3).length,
                document.querySelectorAll('mjx-merror, [data-mjx-error]').length]""")
    assert shown == formulas and wrong == 0
    assert (page in ("start", "layers", "paper")) <= (formulas > 0)
    # On a telephone the tables and the code scroll, not the page.
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 400


def test_a_layer_has_a_signature_that_python_reads(site):
    text = (site / "generated" / "sngan_jax.layers.html").read_text()
    signature = re.search(r'<dt class="sig[^>]*id="sngan_jax.layers.SNConv">.*?</dt>', text,
                          re.DOTALL)[0]
    plain = html.unescape(re.sub(r"<[^>]+>|\s", "", signature))
    call = ast.parse(plain[plain.index("SNConv"):].partition("[source]")[0], mode="eval").body
    assert {word.arg for word in call.keywords} == {None, *layers.OPTIONS}


def test_a_function_shows_the_shapes_of_its_arrays(site):
    text = (site / "generated" / "sngan_jax.losses.html").read_text()
    plain = html.unescape(re.sub(r"<[^>]+>|\s", "", text))
    assert "hinge_generator(fake:Float[Array,'m'],)→Float[Array,'']" in plain


def test_there_are_pictures(browser, address):
    for page, picture in (("index", "fashion_resnet"), ("architecture", "architecture"),
                          ("gallery", "figure12")):
        opened(browser, f"{address}/{page}.html")
        sources = browser.execute_script("return [...document.images].map(image => image.src)")
        assert any(picture in source for source in sources)


@pytest.mark.parametrize("words, found", [
    ("power iteration", "sngan_jax.spectral"), ("gradient penalty", "regularizers"),
    ("checkpoint", "reliability")])
def test_the_search_finds(browser, address, words, found):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{address}/index.html")
    box = browser.find_element("css selector", "input[name=q]")
    box.send_keys(words)
    box.submit()
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(
        "return /found \\d+ page|found one page/.test(document.body.innerText)"))
    results = browser.execute_script(
        "return [...document.querySelectorAll('#search-results a')].map(link => link.href)")
    wanted = [link for link in results if found in link]
    assert wanted
    opened(browser, wanted[0])
    assert words.split()[0] in browser.find_element("css selector", "article").text.lower()
