"""Notebooks: what models, histories and summaries look like there, and the executed example."""

import base64
import html
import re
import sys
import types
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest

import fastnn
from fastnn.html import in_notebook
from fastnn.run import progress

EXAMPLE = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def make_model(**options):
    return fastnn.Sequential([fastnn.Dense(2, 3, rng=0), fastnn.ReLU()], **options)


def cells(text):
    """Return the text of the cells of a table, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    return [[html.unescape(each) for each in re.findall(r">([^<]*)</t[dh]>", row)] for row in rows]


def test_a_model_is_its_summary_and_its_loss():
    model = make_model(loss=fastnn.MeanSquaredError())
    text = model._repr_html_()
    assert text.startswith(model.summary()._repr_html_())
    assert cells(text) == [
        ["layer", "outputs", "parameters", "FLOPs a sample"],
        ["Dense", "3", "9", "15"],
        ["ReLU", "3", "0", "3"],
    ]
    assert "9 parameters (36 bytes), 18 FLOPs a sample" in text
    assert "loss: MeanSquaredError()" in text


def test_names_are_escaped():
    kind = type("<script>", (), {"forward": lambda self, x: x, "backward": lambda self, d: d})
    text = fastnn.Sequential([fastnn.Dense(2, 3, rng=0), kind()])._repr_html_()
    assert "<script>" not in text
    assert cells(text)[2][0] == "<script>"


@pytest.mark.parametrize(("n_epochs", "n_rows"), [(1, 1), (6, 6), (7, 7), (50, 7)])
def test_a_history_is_a_picture_and_a_short_table(n_epochs, n_rows):
    X, y = np.eye(4), [0, 1, 0, 1]
    model = fastnn.Sequential([fastnn.Dense(4, 2, rng=0)])
    history = model.fit(X, y, epochs=n_epochs, seed=0, validation_data=(X, y), metrics=["f1"])
    text = history._repr_html_()
    data = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', text)[1])
    assert data.startswith(b"\x89PNG")
    header, *rows = cells(text)
    assert header == ["epoch", *history.curves]
    assert len(rows) == n_rows
    assert rows[-1][1] == f"{history.loss[-1]:.4f}"


def test_a_history_without_epochs_or_matplotlib_has_no_picture(monkeypatch):
    assert "<img" not in fastnn.History()._repr_html_()
    history = make_model().fit(np.eye(2), [0, 1], seed=0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "<img" not in history._repr_html_()
    assert "<table>" in history._repr_html_()


@pytest.fixture
def notebook(monkeypatch):
    """Make this process look like a kernel of Jupyter."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


def test_the_bar_is_on_by_default_in_a_notebook(notebook, capsys):
    assert in_notebook()
    (callback,) = progress.as_progress("auto", ())
    assert isinstance(callback, fastnn.ProgressBar)
    assert progress.as_progress(0, ()) == []
    # Without ipywidgets it is a bar of text.
    make_model().fit(np.eye(2), [0, 1], epochs=2, seed=0)
    assert "loss" in capsys.readouterr().err


def test_a_shell_is_no_notebook(monkeypatch):
    shell = types.SimpleNamespace(config={})
    for module in (None, types.SimpleNamespace(get_ipython=lambda: shell),
                   types.SimpleNamespace(get_ipython=lambda: None)):  # fmt: skip
        monkeypatch.setitem(sys.modules, "IPython", module)
        assert not in_notebook()
        assert progress.as_progress("auto", ()) == []


def texts(notebook):
    """Return what each cell of code shows as text, apart from what stands on standard error."""
    return [
        [
            output.get("text") or output["data"]["text/plain"]
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore")  # of Jupyter's libraries
def test_the_example_shows_what_it_shows(tmp_path):
    stored = nbformat.read(EXAMPLE, as_version=4)
    run = nbformat.read(EXAMPLE, as_version=4)
    client = nbclient.NotebookClient(run, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert texts(run) == texts(stored)
    assert sum(map(len, texts(stored))) == 6
    shown = [
        output.data for cell in run.cells for output in cell.get("outputs", ()) if "data" in output
    ]
    assert sum("<table>" in data.get("text/html", "") for data in shown) == 2
    assert sum("image/png" in data for data in shown) == 1
