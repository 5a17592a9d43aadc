"""The recipes for logging libraries in `docs/cookbook.md`, each where its library is installed."""

import re
from pathlib import Path

import pytest
from pages import run_blocks

PAGE = Path(__file__).parent.parent / "docs" / "cookbook.md"
CURVES = {"loss", "accuracy"}


def run_recipe(library):
    """Run the block of a library, behind the first one of the page."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (code,) = (each for each in blocks if re.search(rf"^(import|from) {library}\b", each, re.M))
    begin = re.search(r"^```python\n.*?^```\n", text, re.DOTALL | re.MULTILINE)[0]
    run_blocks(begin + "\n" + f"```python\n{code}```\n", "cookbook.md")


@pytest.mark.filterwarnings("default")  # of the libraries
def test_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    monkeypatch.chdir(tmp_path)
    run_recipe("tensorboardX")
    (path,) = (tmp_path / "runs" / "first").iterdir()
    content = path.read_bytes()
    assert all(content.count(name.encode()) >= 3 for name in CURVES)


@pytest.mark.filterwarnings("default")
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("here", (tmp_path / "files").as_uri())
    )
    run_recipe("mlflow")
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics.keys() == CURVES
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [each.step for each in history] == [1, 2, 3]
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["model.safetensors"]


@pytest.mark.filterwarnings("default")
def test_weights_and_biases(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run_recipe("wandb")
    wandb.teardown()  # ends the process that writes the file
    (path,) = tmp_path.rglob("run-*.wandb")
    content = path.read_bytes()
    assert all(name.encode() in content for name in CURVES)
