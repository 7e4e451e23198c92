"""`dysweep_status --html`: the page as a browser shows it."""

import json
import math
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import wandb

from dysweep import Space, cli, dysweep_run_resume
from dysweep.directory.sweep import Sweep
from dysweep.views.report import report
from dysweep.views.runs import AttemptStatus, RunStatus
from dysweep.views.status import SweepStatus

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
HOSTILE = "</script><b>bold</b>"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Chromium and its driver are not installed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [
        "headless",
        "no-sandbox",
        "disable-gpu",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1220,1400",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ]:
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(chromium):
    """Give a function that opens a file and waits until all charts are drawn."""

    def page(path):
        chromium.get(f"file://{Path(path).absolute()}")
        chromium.execute_async_script(
            "const done = arguments[0];"
            "const charts = [...document.querySelectorAll('.plotly-graph-div')];"
            "const drawn = () => charts.every(chart => chart._fullLayout)"
            " ? done() : setTimeout(drawn, 20); drawn();"
        )
        return chromium

    return page


def trains(config, checkpoint_dir):
    wandb.log({"loss": (config["lr"] - 10) ** 2, "epoch": 3})
    if config["lr"] == 11:
        raise ValueError("the loss is nan")


def swept(**more):
    return dysweep_run_resume(
        base_config={"model": None},
        sweep_configuration={
            "name": "study",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {
                "lr": {"sweep": True, "values": [8, 9, 10, 11]},
                "model": {"sweep": True, "values": ["net", HOSTILE]},
                "constant": {"sweep": True, "values": [1]},
            },
            **more,
        },
    )


def texts(browser, selector):
    return [each.text for each in browser.find_elements(By.CSS_SELECTOR, selector)]


def column(browser, title):
    place = texts(browser, "th").index(title) + 1
    return texts(browser, f"tbody tr td:nth-child({place})")


def test_the_page_shows_progress_charts_attempts_and_a_sortable_table(page, capsys):
    sweep_id = swept()
    dysweep_run_resume(sweep_id=sweep_id, function=trains, count=7)
    dysweep_run_resume(sweep_id=sweep_id, function=trains, resume=True, raise_errors=False)
    assert cli.status(["--sweep_id", sweep_id, "--html", "report.html"]) == 0
    browser = page("report.html")

    assert texts(browser, "h1") == ["study"]
    assert texts(browser, ".card b")[0] == "0" and "lr=10, model=net" in texts(browser, ".card small")[0]
    assert texts(browser, ".legend span") == ["6 finished", "1 failed", "1 pending", "of 8 runs"]
    assert texts(browser, "h2") == [
        "Parameters and loss",
        "loss by parameter",
        "loss over the steps",
        "loss over the steps by parameter",
        "Attempts by agent",
        "Runs",
    ]
    parallel, by_parameter, *_, attempts = browser.execute_script(
        "return [...document.querySelectorAll('.plotly-graph-div')].map(d => d._fullData.map(t =>"
        " [t.type, t.name, t.dimensions ? t.dimensions.map(a => a.label) : t.y?.length]))"
    )
    assert parallel == [["parcoords", "trace 0", ["lr", "model", "loss"]]]
    assert [kind for kind, *_ in by_parameter] == ["box", "box"]
    assert {"8", "11", "net", HOSTILE} <= set(texts(browser, ".parcoords .tick text"))
    assert attempts == [["bar", "finished", 6], ["bar", "failed", 2]]
    assert set(texts(browser, ".xaxislayer-above .xtick text")[:6]) >= {"8", "9", "10", "11"}

    assert HOSTILE in column(browser, "model") and not browser.find_elements(By.CSS_SELECTOR, "td b, svg b")
    assert column(browser, "loss") == ["4", "4", "1", "1", "0", "0", "1"]
    heads = {each.text: each for each in browser.find_elements(By.CSS_SELECTOR, "th button")}
    heads["lr"].click()
    assert column(browser, "lr") == ["8", "8", "9", "9", "10", "10", "11"]
    heads["lr"].click()
    assert column(browser, "lr") == ["11", "10", "10", "9", "9", "8", "8"]
    heads["error"].click()
    assert column(browser, "error") == ["ValueError: the loss is nan", *6 * [""]]
    heads["state"].click()
    assert column(browser, "state") == ["failed", *6 * ["finished"]]

    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert loaded == [] and [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []
    buttons = browser.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map(each => each.dataset.title)"
    )
    assert "download plot as a png" in [each.lower() for each in buttons] and not [
        each for each in buttons if "hare" in each
    ]


def test_the_charts_are_about_the_metric_that_is_asked_for(page, capsys):
    sweep_id = swept(metric={"name": "accuracy", "goal": "maximize"})
    dysweep_run_resume(sweep_id=sweep_id, function=trains, count=3)
    for arguments, metric in [([], "loss"), (["--metric", "epoch"], "epoch")]:
        assert cli.status(["--sweep_id", sweep_id, "--html", "report.html", *arguments]) == 0
        assert f"{metric} by parameter" in texts(page("report.html"), "h2")
    capsys.readouterr()
    assert cli.status(["--sweep_id", sweep_id, "--html", "report.html", "--metric", "los"]) == 2
    assert "--metric: no run has 'los'; did you mean 'loss'?" in capsys.readouterr().err


def test_a_distribution_is_drawn_on_its_own_scale(page):
    space = Space.compile(
        {
            "lr": {"sweep": True, "distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
            "width": {"sweep": True, "min": 1, "max": 64},
        }
    )
    sweep = Sweep("abc", "online", "team", "study", None, {}, {"method": "random"}, space.to_json())
    runs = [
        RunStatus(f"run{width}", "finished", assignment={"lr": lr, "width": width}, metrics={"loss": lr})
        for lr, width in [(2e-5, 8), (3e-3, 32), (4e-2, 16)]
    ]
    status = SweepStatus(Path("checkpoints-abc"), sweep, None, tuple(runs), ("runs/run4 is damaged",))
    Path("report.html").write_text(report(status), encoding="utf-8")
    browser = page("report.html")
    kinds = browser.execute_script(
        "const [parallel, points] = document.querySelectorAll('.plotly-graph-div');"
        "return [parallel._fullData[0].dimensions[0].ticktext, points._fullData.map(t => t.type),"
        " points._fullLayout.xaxis.type, points._fullLayout.xaxis2.type]"
    )
    assert kinds[0] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert texts(browser, ".damaged") == ["runs/run4 is damaged"]
    assert "team/study" in texts(browser, "header")[0]
    assert kinds[1:] == [["scattergl", "scattergl"], "log", "linear"]


def drawn(parameters, assignments, **more):
    """Write the page of a sweep of which only the assignments matter."""
    space = Space.compile(parameters)
    sweep = Sweep("abc", "offline", None, "study", None, {}, {"method": "grid", **more}, space.to_json())
    runs = [
        RunStatus(f"run{place}", "finished", assignment=assignment, metrics={"loss": float(place)})
        for place, assignment in enumerate(assignments)
    ]
    status = SweepStatus(Path("checkpoints-abc"), sweep, None, tuple(runs), ())
    Path("report.html").write_text(report(status), encoding="utf-8")


def data(browser, chart, expression):
    return browser.execute_script(
        f"const t = document.querySelectorAll('.plotly-graph-div')[{chart}]._fullData[0]; return {expression}"
    )


def test_values_that_look_alike_stay_apart(page):
    folders = [f"/data/experiments/imagenet-{size}k/checkpoints/resnet50" for size in (1, 21)]
    prompts = [f"Answer in one word.\n{line * 20}\nANSWER:" for line in ("Think.\n", "Guess.\n")]
    values = [*folders, *prompts, 0.999999, 0.9999999, 1, "1", True, None]
    drawn({"x": {"sweep": True, "values": values}}, [{"x": value} for value in values])
    browser = page("report.html")
    labels = data(browser, 1, "t.x")
    assert len(set(labels)) == len(values) and labels[0] == f'"{folders[0]}"'
    assert max(map(len, labels)) < 80
    assert data(browser, 0, "t.dimensions[0].ticktext.length") == len(values)


def test_a_run_that_lacks_a_parameter_leaves_the_others_alone(page):
    parameters = {"lr": {"sweep": True, "distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}}
    drawn(parameters, [{"lr": 1e-4}, {"lr": 1e-2}, {}], metric="loss")
    browser = page("report.html")
    assert data(browser, 1, "[t.type, [...t.x]]") == ["scattergl", [1e-4, 1e-2]]
    assert data(browser, 0, "t.dimensions[1].values.length") == 2


def test_of_many_parameters_the_first_are_drawn_with_the_metric(page):
    names = [f"p{number}" for number in range(70)]
    parameters = {name: {"sweep": True, "values": [1, 2]} for name in names}
    drawn(parameters, [dict.fromkeys(names, value) for value in (1, 2)])
    browser = page("report.html")
    assert data(browser, 0, "t.dimensions.map(each => each.label)") == [*names[:12], "loss"]
    assert "The first 12 of 70 parameters." in texts(browser, "section p")


def test_an_attempt_of_which_no_end_is_known_is_not_drawn_until_today(page):
    crashed = AttemptStatus("crashed", "dysweep 0.1", None, None, "2023-01-02T03:04:05+00:00", None)
    sweep = Sweep("abc", "offline", None, "study", None, {}, {"method": "grid"}, Space.compile({}).to_json())
    run = RunStatus("run1", "crashed", history=(crashed,))
    Path("report.html").write_text(report(SweepStatus(Path("x"), sweep, None, (run,), ())), encoding="utf-8")
    browser = page("report.html")
    assert data(browser, 0, "[[...t.x], [...t.y]]") == [[0], ["dysweep 0.1"]]


def test_a_sweep_without_results_has_a_page_too(page):
    assert cli.status(["--sweep_id", swept(), "--html", "report.html"]) == 0
    browser = page("report.html")
    assert texts(browser, "h2") == ["Runs"] and texts(browser, ".legend span")[0] == "8 pending"
    assert "No run has logged a number yet" in texts(browser, "main")[0]


def test_without_plotly_the_extra_is_named():
    code = "import sys; sys.modules['plotly'] = None; from dysweep import cli; sys.exit(cli.status())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--sweep_id", swept(), "--html", "report.html"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (
        2,
        'dysweep_status: --html: it needs plotly: pip install "dysweep[report]"\n',
    )
    assert not Path("report.html").exists()


def test_no_text_of_a_sweep_is_markup_or_code_on_the_page(page, tmp_path, own_folder, monkeypatch):
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    spaces = {
        f"p{attack}": {"sweep": True, "values": [attack, f"{{{{plotly}}}}{attack}", "javascript:alert(1)"]}
    }

    def train(config, checkpoint_dir):
        wandb.log({f"loss{attack}": float(len(str(config))), "\x1b[2J": 1.0})
        if "javascript:alert(1)" in config.values():
            raise ValueError(f"{attack}\x1b[2J{{{{body}}}}")

    sweep_id = dysweep_run_resume(
        mode="offline",
        base_config={"a": 1},
        sweep_configuration={
            "name": f"{{{{plotly}}}}{attack}{{{{body}}}}",
            "metric": {"name": f"loss{attack}", "goal": "minimize"},
            "parameters": spaces,
        },
    )
    dysweep_run_resume(sweep_id=sweep_id, function=train)
    [claim] = Path("dysweep_logs").glob("*/runs/*-0001/attempts/0001.json")
    record = json.loads(claim.read_text())
    claim.write_text(json.dumps({**record, "host": attack, "slurm_job_id": attack}))
    assert cli.status(["--sweep_id", sweep_id, "--html", "page.html"]) == 0
    browser = page("page.html")
    browser.save_screenshot(str(tmp_path / "hostile.png"))
    assert browser.title == f"{{{{plotly}}}}{attack}{{{{body}}}} - dysweep"
    assert texts(browser, "h1") == [f"{{{{plotly}}}}{attack}{{{{body}}}}"]
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert len(browser.find_elements(By.CSS_SELECTOR, ".plotly-graph-div")) == 4
    rows = browser.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == 3
    for row in rows:
        browser.execute_script("arguments[0].click()", row)
    assert browser.title == f"{{{{plotly}}}}{attack}{{{{body}}}} - dysweep"
    assert any(attack in each for each in texts(browser, "td.detail td"))
    assert browser.find_elements(By.CSS_SELECTOR, "td img") == []
    assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []
    assert "\x1b" not in Path("page.html").read_text()


def curves(config, checkpoint_dir):
    """Log four steps; of rate 3 the last one is NaN; of rate 2 the run fails at the third."""
    for step in range(4):
        if config["rate"] == 2 and step == 2:
            print("about to fail")
            raise ValueError("no such matrix")
        diverged = config["rate"] == 3 and step == 3
        wandb.log({"accuracy": math.nan if diverged else config["rate"] * step + config["seed"]})


def swept_curves(data):
    sweep_id = dysweep_run_resume(
        base_config={"rate": 0, "seed": 0, "train": {"data": "?"}},
        sweep_configuration={
            "metric": {"name": "accuracy", "goal": "maximize"},
            "parameters": {
                "rate": {"sweep": True, "values": [1, 2, 3, 4]},
                "train": {"data": {"sweep": True, "values": data}},
                "seed": {"sweep": True, "sweep_repeats": 3},
            },
        },
    )
    dysweep_run_resume(sweep_id=sweep_id, function=curves, raise_errors=False, max_failures=99)
    wandb.teardown()
    return sweep_id


def shown_curves(browser, title):
    return browser.execute_script(
        "const all = [...document.querySelectorAll('section')];"
        "const own = all.find(each => each.querySelector('h2')?.textContent === arguments[0]);"
        "return own.querySelector('.plotly-graph-div').data.map(t => ({name: t.name, x: [...t.x],"
        " y: [...t.y], text: t.hovertext}))",
        title,
    )


def test_the_best_runs_are_coloured_and_a_cross_marks_nan(page):
    sweep_id = swept_curves(["iris"])
    assert cli.status(["--sweep_id", sweep_id, "--html", "report.html"]) == 0
    others, *best, crosses = shown_curves(page("report.html"), "accuracy over the steps")
    # The finished runs with a number are those of rates 4 and 1; the last step is 3.
    assert [each["y"] for each in best] == [
        [rate * step + seed for step in range(4)] for rate, seed in [(4, 2), (4, 1), (4, 0), (1, 2), (1, 1)]
    ]
    assert [each["x"] for each in best] == [[0, 1, 2, 3]] * 5
    assert others["name"] == "other runs" and others["y"].count(None) == 7 + 3  # each line's end, each NaN
    assert (crosses["x"], crosses["y"]) == ([3, 3, 3], [6, 7, 8])
    assert crosses["text"][0] == f"{sweep_id}-0007: nan at step 3"


def test_the_median_and_quartiles_of_a_chosen_parameter_are_over_its_repeats(page):
    assert cli.status(["--sweep_id", swept_curves(["iris", "wine"]), "--html", "report.html"]) == 0
    browser = page("report.html")
    title = "accuracy over the steps by parameter"
    band, line, *_ = shown_curves(browser, title)
    assert (line["name"], line["x"], line["y"]) == ("1 (6)", [0, 1, 2, 3], [1, 2, 3, 4])
    # Of 0, 0, 1, 1, 2, 2 the quartiles are 0.25 and 1.75.
    assert band["y"] == [1.75, 2.75, 3.75, 4.75, 3.25, 2.25, 1.25, 0.25]
    assert [each["name"] for each in shown_curves(browser, title)[1::2]] == [
        "1 (6)",
        "2 (6)",
        "3 (6)",
        "4 (6)",
    ] + [
        "iris (12)",
        "wine (12)",
    ]
    assert texts(browser, ".updatemenu-header-group text")[0] == "rate"
    assert data(browser, 0, "t.dimensions.map(each => each.label)") == ["rate", "data", "accuracy"]


@pytest.mark.parametrize(
    ("by", "title", "rows"),
    [
        ([], "Best accuracy by data", [["iris", "14"], ["wine", "14"]]),
        (["--by", "rate"], "Best accuracy by rate", [["1", "5"], ["4", "14"]]),
    ],
)
def test_the_best_is_named_for_each_data_set_or_group(page, by, title, rows):
    assert cli.status(["--sweep_id", swept_curves(["iris", "wine"]), "--html", "report.html", *by]) == 0
    browser = page("report.html")
    assert texts(browser, "h2")[0] == title
    cells = texts(browser, ".best td")
    assert [cells[start : start + 2] for start in range(0, len(cells), 5)] == rows
    assert not any("best" in each for each in texts(browser, ".card span"))


def test_a_parameter_that_there_is_not_is_no_group(capsys):
    sweep_id = swept()
    assert cli.status(["--sweep_id", sweep_id, "--html", "report.html", "--by", "modle"]) == 2
    assert "--by: no parameter 'modle'; did you mean 'model'?" in capsys.readouterr().err
    assert cli.status(["--sweep_id", sweep_id, "--by", "model"]) == 2
    assert "--by: it needs --html" in capsys.readouterr().err


def test_the_table_is_searched_and_its_rows_open(page):
    assert cli.status(["--sweep_id", swept_curves(["iris"]), "--html", "report.html"]) == 0
    browser = page("report.html")
    search = browser.find_element(By.CSS_SELECTOR, "input[type=search]")
    assert texts(browser, "output") == ["12 runs"]
    search.send_keys("FAILED no such")
    assert column(browser, "rate") == ["2", "2", "2"]
    assert texts(browser, "output") == ["3 of 3 found, 12 runs in all"]
    row = browser.find_element(By.CSS_SELECTOR, "#runs tbody tr")
    row.click()
    [detail] = texts(browser, "td.detail")
    for text in ("rate\n0\n2", "train.data", "ValueError: no such matrix", "about to fail", "failed"):
        assert text.replace("\n", " ") in " ".join(detail.split())
    row.click()
    assert texts(browser, "td.detail") == []
    search.clear()
    search.send_keys("nothing")
    assert texts(browser, "#runs tbody tr") == []


def test_nan_is_shown_in_the_table(page):
    assert cli.status(["--sweep_id", swept_curves(["iris"]), "--html", "report.html"]) == 0
    assert column(page("report.html"), "accuracy").count("nan") == 3


def test_damaged_files_are_named_on_the_page(page):
    sweep_id = swept_curves(["iris"])
    [file] = Path("dysweep_logs").glob("*/runs/*-0001/wandb/offline-run-*/*.wandb")
    file.write_bytes(b"X" * 64)
    assert cli.status(["--sweep_id", sweep_id, "--html", "report.html"]) == 0
    [problem] = texts(page("report.html"), ".damaged")
    assert problem == f"{file.absolute()}: it does not begin as W&B's files do"


def test_the_runs_of_a_sweep_that_wandb_serves_are_links(page):
    sweep = Sweep("abc", "online", "team", "study", None, {}, {"method": "grid"}, Space.compile({}).to_json())
    run = RunStatus("run1", "finished", metrics={"loss": 1.0})
    Path("report.html").write_text(report(SweepStatus(Path("x"), sweep, None, (run,), ())), encoding="utf-8")
    [link] = page("report.html").find_elements(By.CSS_SELECTOR, "#runs td a")
    assert re.fullmatch("https://[^?#]+/team/study/runs/run1", link.get_attribute("href"))


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(29, 35, 42)")])
def test_the_page_fits_every_width_in_light_and_dark(page, chromium, width, scheme, paper):
    sweep_id = swept()
    dysweep_run_resume(sweep_id=sweep_id, function=trains, count=3)
    assert cli.status(["--sweep_id", sweep_id, "--html", "report.html"]) == 0
    chosen = [{"name": "prefers-color-scheme", "value": scheme}]
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser = page("report.html")
        widths = (
            "const page = document.documentElement; return [innerWidth, page.scrollWidth - page.clientWidth]"
        )
        assert browser.execute_script(widths) == [width, 0]
        colour = "return getComputedStyle(document.querySelector('section')).backgroundColor"
        assert browser.execute_script(colour) == paper
        text = "return document.querySelector('.plotly-graph-div')._fullLayout.font.color"
        assert browser.execute_script(text) == {"light": "#1c2530", "dark": "#e4e8ed"}[scheme]
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def multiplied(seeds=5):
    """Write the page of a sweep whose loss is x * y, whatever the colour, with repeats."""
    axes = {"x": [-1, 0, 1], "y": [-1, 1], "colour": ["red", "<b>"]}
    space = Space.compile(
        {name: {"sweep": True, "values": values} for name, values in axes.items()}
        | {"seed": {"sweep": True, "sweep_repeats": seeds}}
    )
    sweep = Sweep("abc", "offline", None, "study", None, {}, {"method": "grid"}, space.to_json())
    runs = [
        RunStatus(
            f"run{number}",
            "finished",
            assignment={"x": x, "y": y, "colour": colour, "seed": seed},
            metrics={"loss": x * y + (number * 7919 % 13 - 6) / 1000},
        )
        for number, (x, y, colour, seed) in enumerate(product(*axes.values(), range(seeds)))
    ]
    status = SweepStatus(Path("checkpoints-abc"), sweep, None, tuple(runs), ())
    Path("report.html").write_text(report(status), encoding="utf-8")


def importance_of(browser, title="Importance for loss"):
    [section] = [
        each
        for each in browser.find_elements(By.TAG_NAME, "section")
        if [head.text for head in each.find_elements(By.TAG_NAME, "h2")] == [title]
    ]
    charts = browser.execute_script(
        "return [...arguments[0].querySelectorAll('.plotly-graph-div')].map(d => d._fullData.map("
        "t => [t.type, [...t.x], [...t.y]]))",
        section,
    )
    return [each.text for each in section.find_elements(By.CSS_SELECTOR, "p")], *charts


def test_the_importance_of_the_parameters_is_a_chart_with_the_strongest_interaction(page):
    pytest.importorskip("sklearn")
    multiplied()
    browser = page("report.html")
    (note, strongest), [[kind, shares, names]], effects = importance_of(browser)
    # With y in -1 and 1, nothing of x * y is left without either.
    assert kind == "bar" and set(names[1:]) == {"x", "y"} and names[0] == "colour"  # drawn from below
    assert min(shares[1:]) > 0.7 and abs(shares[0]) < 0.05
    assert re.fullmatch(
        r"The strongest interaction: (x and y|y and x) explain \d+% of the variance only together\.",
        strongest,
    )
    assert "drawn at random" not in note
    means = dict(zip([*reversed(names)], effects, strict=True))
    assert means["x"][1] == ["-1", "0", "1"] and means["x"][2] == pytest.approx([0, 0, 0], abs=0.01)
    assert means["y"][1] == ["-1", "1"] and len(means) == 3
    titles = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "svg .annotation-text")]
    assert "x" in titles and not browser.find_elements(By.CSS_SELECTOR, "svg b")
    assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []


def test_the_importance_of_many_runs_is_that_of_a_sample(page):
    pytest.importorskip("sklearn")
    multiplied(seeds=40)  # 480 runs
    (note, strongest), [[_, shares, names]], _ = importance_of(page("report.html"))
    assert "in 400 of 480 runs, drawn at random." in note
    assert names[0] == "colour" and min(shares[1:]) > 0.8 and "x" in strongest


def test_few_runs_say_nothing_of_importance(page):
    drawn({"lr": {"sweep": True, "values": list(range(9))}}, [{"lr": lr} for lr in range(9)])
    assert not [each for each in texts(page("report.html"), "h2") if "Importance" in each]


def test_without_scikit_learn_the_page_names_the_extra(page):
    sweep_id = swept(parameters={"lr": {"sweep": True, "values": list(range(12))}})
    dysweep_run_resume(sweep_id=sweep_id, function=trains, raise_errors=False)
    code = "import sys; sys.modules['sklearn'] = None; from dysweep import cli; sys.exit(cli.status())"
    command = [sys.executable, "-c", code, "--sweep_id", sweep_id, "--html", "report.html"]
    subprocess.run(command, check=True)
    (line,), *charts = importance_of(page("report.html"))
    assert line == 'The importance of the parameters needs pip install "dysweep[results]".' and charts == []


def test_ten_thousand_runs_are_drawn_aggregated(page):
    parameters = {
        "rate": {"sweep": True, "values": [1, 2]},
        "lr": {"sweep": True, "distribution": "uniform", "min": 0.0, "max": 1.0},
    }
    drawn(
        parameters,
        [{"rate": 1 + place % 2, "lr": place / 10_000} for place in range(10_000)],
        method="random",
    )
    assert Path("report.html").stat().st_size < 6_500_000
    browser = page("report.html")
    assert len(texts(browser, "#runs tbody tr")) == 200
    # The odd numbers from 1 to 9,999 are of rate 2; of the even ones up to 9,998 the median is 4,999.
    assert data(browser, 1, "[...t.median]") == [4999, 5000]
    assert data(browser, 0, "t.dimensions[0].values.length") == 2000
    browser.find_element(By.CSS_SELECTOR, "button.more").click()
    assert len(texts(browser, "#runs tbody tr")) == 400
    assert texts(browser, "output") == ["400 of 10,000 found, 10,000 runs in all"]
