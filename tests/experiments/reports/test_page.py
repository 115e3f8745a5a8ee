"""The page, Markdown and CSV: whole, self-contained, every number with its origin."""

import csv
import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

from experiments.report import make_report
from experiments.reports.figures import FIGURES
from experiments.reports.parts import Figure, Missing
from experiments.reports.published import command_like
from experiments.reports.runs import collect
from experiments.reports.scores import figure1
from experiments.sweeps.tables import Request
from sngan_jax.base.errors import UserError
from tests.experiments.reports.disk import TINY, read_scores, scores_of, write_run, write_sweep

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Anchors, links, sources and texts of a page; fails where tags do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.open = [], [], [], []
        self.cells, self.texts = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []
        self.sources += [attrs["src"]] if "src" in attrs else []
        assert tag not in ("script", "link", "iframe")
        assert tag != "img" or attrs["alt"]
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "a" and "ours" in self.kind:
            self.cells.append(attrs["href"])
        self.kind = attrs.get("class", "") if tag in ("td", "th") else ""

    kind = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of a Table 2 with two seeds, Figure 4's and Figure 11's runs."""
    place = tmp_path_factory.mktemp("sweeps")
    two = TINY._replace(methods=("sn", "wgan_gp", "orthonormal"), seeds=2)
    write_sweep(place / "table2", two)
    for table in ("figure4", "figure11"):
        write_sweep(place / table, Request(table, "digits", "tiny"))
    make_report([place / "table2", place / "figure4", place / "figure11"], place / "out")
    return place


def test_the_page_needs_no_other_file_and_every_link_leads_somewhere(made):
    page = Page((made / "out" / "report.html").read_text())
    assert len(set(page.ids)) == len(page.ids)
    assert page.links and all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert page.sources and all(s.startswith("data:image/png;base64,") for s in page.sources)
    # A style may load things too.
    assert not re.search(r"url\(|@import|https?:", (made / "out" / "report.html").read_text())


def test_every_number_of_ours_leads_to_its_run_checkpoint_protocol_seed_and_commit(made):
    text = (made / "out" / "report.html").read_text()
    page = Page(text)
    assert len(page.cells) > 2 * 3 * 2
    for anchor in set(page.cells):
        section = text.split(f'<section id="{anchor[1:]}">')[1].split("</section>")[0]
        assert "checkpoint of iteration 60" in section and "500 generated" in section
        assert "commit c0ffee" in section and "commit beef" in section and "Linux" in section
        for folder, seed in re.findall(r"seed (\d+); ([^;]+);", section):
            assert folder.isdigit() and f"seed={folder}" in seed
    section = text.split('<section id="from-table2-sn-A">')[1].split("</section>")[0]
    assert section.count("<li>") == 2
    # What the table of hindsight may have chosen.
    assert "other scores, at iteration 30: classifier Fréchet distance 1.0" in section
    for seed in (0, 1):
        run = made / "table2" / f"sn,A,seed={seed}"
        assert f"seed {seed}; {run}; checkpoint" in section
        assert str(read_scores(run)[-1]["scores"]["fcd"]) in section


def test_the_csv_has_every_run_and_what_the_paper_says(made):
    with (made / "out" / "tables" / "table2-fcd.csv").open() as file:
        rows = list(csv.DictReader(file))
    of = {(row["method"], row["setting"], row["seed"]): row for row in rows}
    assert len(of) == len(rows)
    for seed in (0, 1):
        row = of["sn", "C", str(seed)]
        (record,) = [json.loads(line) for line in
                     (made / "table2" / f"sn,C,seed={seed}" / "scores.jsonl").open()][-1:]
        assert float(row["value"]) == record["scores"]["fcd"] and row["iteration"] == "60"
        assert row["run_folder"] == str(made / "table2" / f"sn,C,seed={seed}")
        assert row["commit"] == "c0ffee" and "500 real images" in row["protocol"]
        assert row["paper_FID_cifar10"] == "29.3" and row["paper_FID_stl10"] == "53.1"
    mean = of["sn", "C", "all"]
    assert float(mean["value"]) == pytest.approx(
        sum(float(of["sn", "C", s]["value"]) for s in "01") / 2)
    assert (mean["runs"], mean["state"]) == ("2", "finished")
    assert (of["sn", "F", "all"]["state"], of["sn", "F", "all"]["value"]) == ("not run", "")


def test_markdown_has_the_same_numbers_and_its_pictures(made):
    text = (made / "out" / "report.md").read_text()
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert {f"figures/figure{n}.png" for n in (1, 2, 4, 5, 11, 14)} == set(pictures)
    for picture in pictures:
        with Image.open(made / "out" / picture) as image:
            assert 900 <= image.width <= 1200
    cells = set(re.findall(r"\[([^]]+)\]\(#from", text))
    page = (made / "out" / "report.html").read_text()
    shown = {re.sub(r"<[^>]*>", "", cell)
             for cell in re.findall(r'<td class="ours".*?>(<a .*?</a>)</td>', page)}
    assert cells and cells == shown


def test_a_figure_without_data_says_what_makes_it(made):
    found = collect([made / "table2"])
    drawn = [figure(found, made / "out" / "figures") for figure in FIGURES]
    absent = {figure.title.split(":")[0]: figure.reason for figure in drawn
              if isinstance(figure, Missing)}
    assert {f"Figure {n}" for n in (3, 4, 6, 7, 9, 10, 11, 12, 15)} | {
        "Power steps", "K"} == set(absent)
    assert f"bench methods --n-dis=1,5 --out={made / 'table2'}" in absent["Figure 10"]
    for number, table in (("4", "figure4"), ("11", "figure11"), ("15", "figure15"), ("3", "2"),
                          ("6", "2"), ("7", "conditional"), ("12", "conditional")):
        assert f"sngan sweep --table={table} --dataset=digits --scale=tiny" in absent[
            f"Figure {number}"]
    shown = {figure.title.split(":")[0]: figure for figure in drawn if isinstance(figure, Figure)}
    # Both settings, three methods, two seeds.
    assert len(shown["Figure 1"].provenance) == len(shown["Figure 2"].provenance) == 12
    assert "the paper: IS" in shown["Figure 1"].title


def test_residual_networks_alone_are_in_no_figure_of_settings(tmp_path):
    own = Request("2", "cifar10", "paper", methods=("sn",), settings=("own",))
    write_sweep(tmp_path / "t2", own, lambda cell: {"fid": 20.0, "is": 8.0})
    absent = figure1(collect([tmp_path / "t2"]), tmp_path)
    assert isinstance(absent, Missing) and "--table=2" in absent.reason
    # Nor are the rows that are trained with another loss, or for longer.
    whole = Request("2", "cifar10", "paper", methods=("sn",), settings=("A", "C"))
    write_sweep(tmp_path / "whole", whole, lambda cell: {"fid": 20.0, "is": 8.0})
    drawn = figure1(collect([tmp_path / "whole"]), tmp_path)
    assert {line.split(": ")[1].split(",")[0] for line in drawn.provenance} == {"sn"}
    assert len(drawn.provenance) == 2 and "2 of 48 combinations" in drawn.caption


def test_a_command_is_one_that_the_sweep_accepts(tmp_path):
    write_sweep(tmp_path / "t2", Request("2", "stl10", "paper", methods=("sn",), settings=("A",)))
    found = collect([tmp_path / "t2"])
    assert "--table=figure4 --dataset=stl10" in command_like(found, "figure4")
    for table in ("conditional", "figure15", "7"):
        assert f"--table={table} --dataset=cifar10" in command_like(found, table)
    strange = found._replace(sweeps=(found.sweeps[0]._replace(dataset="other"),))
    assert "--dataset=cifar10" in command_like(strange, "7")


def test_a_report_that_is_made_again_has_no_old_files(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.report.FIGURES", (figure1,))
    cells = write_sweep(tmp_path / "t2")
    make_report([tmp_path / "t2"], tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "figure1.png").is_file()
    for cell in cells:
        shutil.rmtree(tmp_path / "t2" / cell.run.name)
    make_report([tmp_path / "t2"], tmp_path / "out")
    assert not (tmp_path / "out" / "figures" / "figure1.png").exists()
    assert not (tmp_path / "out" / "tables" / "t2-fcd.csv").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No run is finished and scored." in page and "0 runs, 0 of them finished" in page


def test_names_and_notes_are_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.report.FIGURES", ())
    cells = write_sweep(tmp_path / "<b>&")
    write_run(tmp_path / "<b>&" / '"><script>x', cells[0], scores_of(cells[0]))
    make_report([tmp_path / "<b>&"], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())  # which allows no script
    assert any('"><script>x' in text for text in page.texts)


def test_plain_runs_of_any_name_have_their_own_tables_alone_and_are_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.report.FIGURES", ())
    names = ("=1+1", "<script>x", "a|b", "a_b", "[x](y)", "`c`", "_d_", "new\nline", "\x1b[31m")
    (cell, *_) = write_sweep(tmp_path / "t2")
    for name in names:
        write_run(tmp_path / "runs" / name, cell, scores_of(cell))
    make_report([tmp_path / "runs"], tmp_path / "out")
    csvs = {file.stem: file.read_text() for file in (tmp_path / "out" / "tables").iterdir()}
    assert set(csvs) == {"runs", "runs-hindsight"}  # none of the paper
    methods = [row["method"] for row in csv.DictReader(csvs["runs"].splitlines())]
    assert "'=1+1" in methods and "=1+1" not in methods and "<script>x" in methods
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert "\x1b" not in text and "<script>x" in page.texts
    assert len(set(page.ids)) == len(page.ids)
    lines = (tmp_path / "out" / "report.md").read_text()
    assert "\x1b" not in lines and "\\<script>x" in lines
    assert "Table 1" not in lines + text
    rows = [line for line in lines.splitlines() if line.startswith("| ") and "196" in line]
    for name in (r"a\|b", r"\[x\](y)", r"\`c\`", r"\_d\_", r"new\\nline"):
        assert [row for row in rows if row.startswith(f"| {name} | [")], name


def test_every_table_can_be_copied_whole(made):
    """One click selects the Markdown of a table, which has the cells of the table and no more."""
    text = (made / "out" / "report.html").read_text()
    tables = re.findall(r"<table>(.*?)</table>.*?<pre>(.*?)</pre>", text, re.DOTALL)
    assert len(tables) == text.count("<table>") and "user-select: all" in text
    for table, copy in tables:
        shown = [[html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in
                  re.findall(r"<(?:td|th)\b[^>]*>(.*?)</(?:td|th)>", row)]
                 for row in re.findall(r"<tr>(.*?)</tr>", table)]
        head, dashes, *rows = [[cell.strip() for cell in line.strip("|").split("|")]
                               for line in html.unescape(copy).strip().splitlines()]
        assert [head, *rows] == shown and set(dashes) == {"---"}


def test_a_folder_of_other_things_is_not_written_into(tmp_path):
    write_sweep(tmp_path / "t2")
    for name in ("full/mine.txt", "paper/figures/mine.png", "file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    for out, words in (("full", "not empty and holds no report"), ("file", "is a file"),
                       ("paper", "not empty and holds no report")):
        with pytest.raises(UserError, match=words):
            make_report([tmp_path / "t2"], tmp_path / out)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert (tmp_path / "paper" / "figures" / "mine.png").read_text() == "mine"


def test_a_report_that_was_interrupted_is_made_again(tmp_path, monkeypatch):
    write_sweep(tmp_path / "t2")

    def interrupted(found, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.report.FIGURES", (interrupted,))
    with pytest.raises(KeyboardInterrupt):
        make_report([tmp_path / "t2"], tmp_path / "out")
    assert "not finished" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.setattr("experiments.report.FIGURES", ())
    make_report([tmp_path / "t2"], tmp_path / "out")
    assert "<table>" in (tmp_path / "out" / "report.html").read_text()
