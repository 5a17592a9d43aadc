"""`fastnn train` with its defaults against models of scikit-learn, on tables that packages ship.

    python benchmarks/tables.py [--splits 5] [--quick] [--write]

Each table is split at random, a quarter for the test. `fastnn train` gets the other rows as a CSV
file, with no option but the target and its task, and `fastnn evaluate` measures the model on the
test rows. The models of scikit-learn get the same rows, standardized and one-hot: `MLPClassifier`
and `MLPRegressor` with defaults, early stopping and a standardized target, logistic or ridge
regression, and histogram gradient boosting. Scores are accuracy, or R2.

The defaults of `fastnn train` were chosen on parts of the training rows, which no split tests.
Needs scikit-learn, pandas, statsmodels, vega_datasets and palmerpenguins. `--write` puts the table
into `docs/command-line.md`.
"""

import argparse
import contextlib
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from report import Table, replace_marked

from fastnn.cli import main as fastnn_main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "command-line.md"
_TEST = 0.25
_PEERS = {"mlp": "MLP", "linear": "linear", "boosting": "boosting"}


class Problem(NamedTuple):
    """A table and what to predict of it."""

    frame: object  # a pandas frame without missing values
    target: str
    task: str  # "classification" or "regression"


def load_problems():
    """Return {name: Problem} of the tables that packages ship."""
    import palmerpenguins
    from sklearn import datasets
    from statsmodels import datasets as more
    from vega_datasets import local_data

    penguins = palmerpenguins.load_penguins().dropna().drop(columns=["year"])
    cars = local_data.cars().dropna().drop(columns=["Name"])
    weather = local_data.seattle_weather()
    trips = more.modechoice.load_pandas().data.drop(columns=["individual"])
    voters = more.anes96.load_pandas().data.drop(columns=["logpopul"])
    classes = {
        "iris": (datasets.load_iris(as_frame=True).frame, "target"),
        "wine": (datasets.load_wine(as_frame=True).frame, "target"),
        "breast cancer": (datasets.load_breast_cancer(as_frame=True).frame, "target"),
        "digits": (datasets.load_digits(as_frame=True).frame, "target"),
        "penguins, species": (penguins, "species"),
        "anes96, vote": (voters, "vote"),
        "mode of travel": (trips, "choice"),
        "Seattle weather": (
            weather.assign(month=weather["date"].dt.month).drop(columns=["date"]), "weather",
        ),
    }  # fmt: skip
    numbers = {
        "diabetes": (datasets.load_diabetes(as_frame=True, scaled=False).frame, "target"),
        "penguins, mass": (penguins, "body_mass_g"),
        "fair": (more.fair.load_pandas().data, "affairs"),
        "RAND health": (more.randhie.load_pandas().data, "mdvis"),
        "cars": (cars.assign(Year=cars["Year"].dt.year), "Miles_per_Gallon"),
        "barley": (local_data.barley(), "yield"),
    }
    problems = {name: Problem(*pair, "classification") for name, pair in classes.items()}
    return problems | {name: Problem(*pair, "regression") for name, pair in numbers.items()}


def split(problem, seed):
    """Return the rows to train on, and those of the test."""
    order = np.random.default_rng(seed).permutation(len(problem.frame))
    n_test = round(_TEST * len(order))
    return problem.frame.iloc[order[n_test:]], problem.frame.iloc[order[:n_test]]


def score_fastnn(problem, rows, test, seed):
    """Return the score of `fastnn train` on the test rows."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("rows.csv", "test.csv", "model.safetensors")]
        rows.to_csv(paths[0], index=False)
        test.to_csv(paths[1], index=False)
        options = ["--target", problem.target, "--task", problem.task, "--seed", str(seed)]
        _run(["train", paths[0], *options, "--save", paths[2], "--json"])
        result = _run(["evaluate", paths[2], paths[1], "--json"])
    return result["accuracy" if problem.task == "classification" else "r2"]


def _run(arguments):
    """Run a command of fastnn; return the JSON object that it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()) as errors:
        status = fastnn_main(arguments)
    if status:
        raise RuntimeError(f"fastnn {' '.join(arguments)} failed:\n{errors.getvalue()}")
    return json.loads(output.getvalue())


def score_peers(problem, rows, test, seed):
    """Return {name: score} of the models of scikit-learn."""
    from sklearn.compose import TransformedTargetRegressor, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, y = rows.drop(columns=[problem.target]), rows[problem.target]
    numeric = list(X.select_dtypes("number").columns)
    others = [name for name in X.columns if name not in numeric]
    if problem.task == "classification":
        models = {
            "mlp": MLPClassifier(early_stopping=True, random_state=seed),
            "linear": LogisticRegression(max_iter=2000),
            "boosting": HistGradientBoostingClassifier(random_state=seed),
        }
    else:
        models = {
            "mlp": TransformedTargetRegressor(
                MLPRegressor(early_stopping=True, random_state=seed),
                transformer=StandardScaler(),
            ),
            "linear": RidgeCV(np.logspace(-3, 3, 13)),
            "boosting": HistGradientBoostingRegressor(random_state=seed),
        }
    scores = {}
    for name, model in models.items():
        prepared = make_column_transformer(
            (StandardScaler(), numeric),
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), others),
        )
        pipeline = make_pipeline(prepared, model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)  # categories that training has not seen
            pipeline.fit(X, y)
            test_X = test.drop(columns=[problem.target])
            scores[name] = pipeline.score(test_X, test[problem.target])
    return scores


def measure(problem, seeds):
    """Return {model: (splits,)} of the scores on test rows, and of the mean or majority."""
    scores = {name: [] for name in ("fastnn", *_PEERS, "constant")}
    for seed in seeds:
        rows, test = split(problem, seed)
        scores["fastnn"].append(score_fastnn(problem, rows, test, seed))
        for name, score in score_peers(problem, rows, test, seed).items():
            scores[name].append(score)
        y, y_test = rows[problem.target], test[problem.target]
        if problem.task == "classification":
            scores["constant"].append(float((y_test == y.mode()[0]).mean()))
        else:
            error = ((y_test - y.mean()) ** 2).sum() / ((y_test - y_test.mean()) ** 2).sum()
            scores["constant"].append(float(1 - error))
    return {name: np.array(values) for name, values in scores.items()}


def table(results, n_splits):
    """Return the Table of the results of all problems."""
    rows, n_good = [], 0
    for name, (problem, scores) in results.items():
        means = {model: values.mean() for model, values in scores.items()}
        n_good += means["fastnn"] >= means["mlp"]
        best = max(("fastnn", *_PEERS), key=means.get)
        cells = [
            f"{100 * scores[model].mean():.1f} ± {100 * scores[model].std(ddof=1):.1f}"
            for model in ("fastnn", *_PEERS)
        ]
        what = "accuracy" if problem.task == "classification" else "R2"
        size = f"{len(problem.frame):,} x {problem.frame.shape[1] - 1}"
        constant = f"{100 * means['constant']:.1f}"
        best = {"fastnn": "fastnn", **_PEERS}[best]
        rows.append((name, size, what, *cells, constant, best))
    text = (
        f"Held-out accuracy or R2 in percent: mean and standard deviation of {n_splits} splits, a "
        "quarter of the rows for the test. *MLP* is scikit-learn's with defaults, early stopping "
        "and a standardized target, *linear* logistic or ridge regression, *boosting* histogram "
        "gradient boosting, *constant* the most frequent class or the mean. The mean of fastnn is "
        f"at least that of the MLP on {n_good} of {len(results)} tables."
    )
    columns = ("table", "size", "score", "fastnn", *_PEERS.values(), "constant", "best")
    return Table("Tables", text, columns, rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two tables, a smoke test")
    parser.add_argument("--write", action="store_true", help="into docs/command-line.md")
    options = parser.parse_args()
    problems, n_splits = load_problems(), options.splits
    if options.quick:
        problems, n_splits = {name: problems[name] for name in ("iris", "barley")}, 2
    results = {}
    for name, problem in problems.items():
        results[name] = problem, measure(problem, range(n_splits))
        means = {model: round(float(x.mean()), 3) for model, x in results[name][1].items()}
        print(f"{name}: {means}", flush=True)
    result = table(results, n_splits)
    print(f"\n{result.section()}")
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        block = result.section("###")
        PAGE.write_text(replace_marked(text, block, "tables"), encoding="utf-8")
        print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
