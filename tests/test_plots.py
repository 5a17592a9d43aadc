"""What the pictures show: lines, counts, labels and limits, read back from matplotlib."""

import itertools
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import fastnn
from fastnn import datasets, plots
from fastnn.run.history import History

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def history():
    history = History()
    for epoch, loss, accuracy in ((1, 0.9, 0.3), (2, 0.5, 0.6), (3, 0.4, 0.8)):
        held_out = {"val_loss": loss + 0.1, "val_accuracy": accuracy - 0.1}
        history.append(epoch, {"loss": loss, "accuracy": accuracy, **held_out})
    return history


class Plane:
    """A classifier whose probabilities are known: its class changes at x = 1/2, 3/2, ..."""

    def __init__(self, n_classes):
        self.n_classes = n_classes

    def predict_proba(self, X):
        rows = np.exp(-((X[:, :1] - np.arange(self.n_classes)) ** 2))
        rows /= rows.sum(axis=1, keepdims=True)
        return rows[:, 1:] if self.n_classes == 2 else rows


def assert_nothing_clipped(figure):
    """Every text lies inside of the picture."""
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for ax in figure.axes:
        box = ax.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


def assert_no_overlap(labels):
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    assert len(boxes) > 1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


# ---------------------------------------------------------------------- history


def test_history_has_one_panel_a_curve_with_training_and_held_out(history):
    panels = history.plot()
    assert [ax.get_ylabel() for ax in panels] == ["loss", "accuracy"]
    for ax, name in zip(panels, ("loss", "accuracy"), strict=True):
        training, held_out = ax.get_lines()
        assert list(training.get_xdata()) == list(held_out.get_xdata()) == [1, 2, 3]
        assert list(training.get_ydata()) == history.curves[name]
        assert list(held_out.get_ydata()) == history.curves[f"val_{name}"]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "held out"]
        assert ax.get_xlabel() == "epoch"
        assert training.get_color() != held_out.get_color()
    assert_nothing_clipped(panels[0].figure)
    whole = [tick == round(tick) for tick in panels[0].get_xticks()]
    assert all(whole)


def test_history_on_given_axes(history):
    _, ax = plt.subplots()
    (drawn,) = plots.plot_history(history, ["accuracy"], axes=ax)
    assert drawn is ax
    assert ax.get_ylabel() == "accuracy"


def test_one_epoch_is_seen():
    history = History()
    history.append(1, {"loss": 0.5})
    (ax,) = plots.plot_history(history)
    (line,) = ax.get_lines()
    assert line.get_marker() == "o"
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"curves": ["los"]}, "curves has 'los', expected some of loss, accuracy"),
        ({"axes": []}, "axes has 0 axes, expected 2, one for each curve"),
    ],
)
def test_bad_histories(history, arguments, error):
    with pytest.raises(ValueError, match=error):
        plots.plot_history(history, **arguments)


def test_what_is_no_history(history):
    with pytest.raises(TypeError, match=r"^history is 3, expected a History, as `fit` returns it$"):
        plots.plot_history(3)
    with pytest.raises(TypeError, match=r"^curves is 'loss', expected a list of names$"):
        plots.plot_history(history, "loss")


def test_history_without_epochs():
    with pytest.raises(ValueError, match="history has no epochs, expected at least one"):
        History().plot()


# ---------------------------------------------------------------------- confusion matrix


def test_confusion_matrix():
    true, predicted = ["a", "a", "a", "b", "c", "c"], ["a", "a", "b", "b", "c", "a"]
    ax = plots.plot_confusion_matrix(true, predicted)
    assert [text.get_text() for text in ax.texts] == list("210010101")
    (image,) = ax.get_images()
    shares = np.array([[2 / 3, 1 / 3, 0], [0, 1, 0], [1 / 2, 0, 1 / 2]])
    np.testing.assert_allclose(image.get_array(), shares)
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    # Dark cells have white figures, and zeros stand back.
    colors = [text.get_color() for text in ax.texts]
    assert colors[:3] == ["white", "black", "#a0a0a0"]
    assert_nothing_clipped(ax.figure)


def test_names_are_drawn_as_they_stand():
    names = [r"$\frac$", "$5-$10", "a_$"]
    ax = plots.plot_confusion_matrix([0, 1, 2], [0, 1, 2], class_names=names)
    ax.figure.canvas.draw()  # which fails for what is no formula
    assert [tick.get_text().replace("\\$", "$") for tick in ax.get_xticklabels()] == names
    assert not any(mpl.cbook.is_math_text(tick.get_text()) for tick in ax.get_xticklabels())


def test_confusion_matrix_with_names_and_a_class_that_does_not_occur():
    ax = plots.plot_confusion_matrix(
        [0, 2], [0, 0], class_names=["Paris", "Rome", "a very long name of a town"]
    )
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["Paris", "Rome", "a very long…"]
    assert [text.get_text() for text in ax.texts] == list("100000100")
    assert_nothing_clipped(ax.figure)
    assert_no_overlap(ax.get_yticklabels())


@pytest.mark.parametrize("n_classes", [2, 10, 20, 21, 100])
def test_labels_of_many_classes_stay_apart(n_classes):
    labels = np.arange(n_classes)
    ax = plots.plot_confusion_matrix(labels, labels, class_names=[f"class {k}" for k in labels])
    assert_nothing_clipped(ax.figure)
    assert_no_overlap(ax.get_yticklabels())
    assert len(ax.texts) == (n_classes**2 if n_classes <= 20 else 0)
    assert (len(ax.figure.axes) == 2) == (n_classes > 20)  # a color bar in place of figures


@pytest.mark.parametrize(
    ("true", "predicted", "names", "error"),
    [
        ([], [], None, r"y_true has shape \(0,\), expected \(n_samples,\), at least one sample"),
        ([1, 2], [1], None, r"y_pred has shape \(1,\), expected as many samples as y_true, 2"),
        ([0, 2], [0, 1], ["a", "b"], "y_true has 2, expected 0 to 1"),
        ([0, 1], [0, -1], ["a", "b"], "y_pred has -1, expected 0 to 1"),
    ],
)
def test_bad_labels(true, predicted, names, error):
    with pytest.raises(ValueError, match=error):
        plots.plot_confusion_matrix(true, predicted, class_names=names)


# ---------------------------------------------------------------------- decision boundary


@pytest.mark.parametrize("n_classes", [2, 3])
def test_decision_boundary_lies_where_the_class_changes(n_classes):
    X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
    ax = plots.plot_decision_boundary(Plane(n_classes), X, resolution=201)
    lines = [
        path.vertices[:, 0]
        for collection in ax.collections
        if isinstance(collection, mpl.contour.QuadContourSet)
        for path in collection.get_paths()
        if len(path.vertices)
    ]
    at = np.unique(np.concatenate(lines).round(3))
    expected = [0.5] if n_classes == 2 else [0.5, 1.5]
    np.testing.assert_allclose(at, expected, atol=0.002)
    assert ax.get_xlim() == pytest.approx((-0.16, 2.16))
    assert ax.get_ylim() == pytest.approx((-0.16, 2.16))


def test_decision_boundary_shows_the_probabilities():
    X = np.array([[0.0, 0.0], [2.0, 1.0]])
    ax = plots.plot_decision_boundary(Plane(3), X, resolution=50)
    meshes = [c for c in ax.collections if isinstance(c, mpl.collections.QuadMesh)]
    assert len(meshes) == 3
    for k, mesh in enumerate(meshes):
        shown = mesh.get_array()
        grid = np.stack(np.meshgrid(*(np.linspace(*ends, 50) for ends in limits(ax))), axis=-1)
        wanted = Plane(3).predict_proba(grid.reshape(-1, 2)).reshape(50, 50, 3)
        np.testing.assert_allclose(shown.data, wanted[:, :, k])
        assert (shown.mask == (wanted.argmax(axis=2) != k)).all()


def limits(ax):
    return ax.get_xlim(), ax.get_ylim()


def test_decision_boundary_of_a_trained_model_with_samples():
    X, y = datasets.make_spiral(rng=0)
    layers = [fastnn.Dense(2, 16, rng=0), fastnn.ReLU(), fastnn.Dense(16, 3, rng=1)]
    model = fastnn.Sequential(layers)
    before = model.parameters.copy()
    ax = plots.plot_decision_boundary(model, X, y, class_names=["north", "east", "west"])
    points = [c for c in ax.collections if isinstance(c, mpl.collections.PathCollection)]
    for k, collection in enumerate(points):
        np.testing.assert_array_equal(collection.get_offsets(), X[y == k])
        assert mpl.colors.to_hex(collection.get_facecolor()) == plots.COLOURS[k].lower()
    assert len(points) == 3
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["north", "east", "west"]
    np.testing.assert_array_equal(model.parameters, before)
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert box.x1 <= ax.figure.canvas.get_width_height()[0]


def test_bad_decision_boundaries():
    layers = [fastnn.Dense(2, 1, rng=0)]
    X = np.array([[0.0, 1.0], [1.0, 0.0]])
    numbers = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())
    with pytest.raises(AttributeError, match="no probabilities"):
        plots.plot_decision_boundary(numbers, X)
    with pytest.raises(ValueError, match=r"X has shape \(2, 3\), expected \(n_samples, 2\)"):
        plots.plot_decision_boundary(Plane(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match="y has 3, expected labels from 0 to 2"):
        plots.plot_decision_boundary(Plane(3), X, [0, 3])
    with pytest.raises(ValueError, match="class_names has 2 names, expected 3"):
        plots.plot_decision_boundary(Plane(3), X, class_names=["a", "b"])


# ---------------------------------------------------------------------- calibration, predictions


def test_calibration_of_two_classes():
    probabilities = np.repeat([0.15, 0.85], 10)
    true = np.array([1] * 2 + [0] * 8 + [1] * 9 + [0])
    ax = plots.plot_calibration(true, probabilities)
    model, perfect = ax.get_lines()
    np.testing.assert_allclose(model.get_xydata(), [[0.15, 0.2], [0.85, 0.9]])
    np.testing.assert_allclose(perfect.get_xydata(), [[0, 0], [1, 1]])
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [0, 0.5, 0, 0, 0, 0, 0, 0, 0.5, 0])
    assert ax.get_xlim() == (0, 1)
    assert ax.get_xlabel() == "predicted probability of class 1"
    assert_nothing_clipped(ax.figure)
    pairs = plots.plot_calibration(true, np.stack([1 - probabilities, probabilities], axis=1))
    np.testing.assert_allclose(pairs.get_lines()[0].get_xydata(), model.get_xydata())


@pytest.mark.parametrize("power", [0.2, 1, 5])
def test_the_legend_of_a_calibration_lies_beside_the_curve(power):
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0, 1, 4000)
    true = (rng.uniform(0, 1, 4000) < probabilities**power).astype(int)
    ax = plots.plot_calibration(true, probabilities)
    ax.figure.set_size_inches(2.5, 2.3)
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    points = ax.transData.transform(ax.get_lines()[0].get_xydata())
    assert not any(legend.contains(*point) for point in points)
    assert 0 <= legend.x0 < legend.x1 <= ax.figure.bbox.x1


def test_ticks_of_small_pictures_do_not_touch():
    true = np.linspace(-30000, 30000, 50)
    ax = plots.plot_predictions(true, true)
    ax.figure.set_size_inches(2.5, 2.3)
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    boxes = [
        tick.get_window_extent()
        for tick in ax.get_xticklabels()
        if low <= tick.get_position()[0] <= high
    ]
    gaps = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
    assert min(gaps) > 4


def test_calibration_of_more_classes_is_of_the_most_probable():
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7], [0.7, 0.1, 0.2]])
    ax = plots.plot_calibration([0, 1, 2, 2], rows)
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), [[0.7, 0.75]])
    assert ax.get_ylabel() == "share that is right"


@pytest.mark.parametrize(
    ("true", "probabilities", "error"),
    [
        ([0, 1], [0.1, 1.1], r"probabilities has numbers outside of \[0, 1\]"),
        ([0, 1], [0.1, np.nan], r"probabilities has numbers outside of \[0, 1\]"),
        ([0, 2], [0.1, 0.2], "y_true has 2, expected labels from 0 to 1"),
        ([0, 1], [[0.1, 0.9]], r"probabilities has shape \(1, 2\), expected as many samples"),
    ],
)
def test_bad_calibrations(true, probabilities, error):
    with pytest.raises(ValueError, match=error):
        plots.plot_calibration(true, probabilities)


def test_predictions_against_true_numbers():
    true = np.linspace(-300, 300, 50)
    ax = plots.plot_predictions(true, true + 5)
    (points,) = [c for c in ax.collections if isinstance(c, mpl.collections.PathCollection)]
    shown = points.get_offsets()
    shown = shown[np.argsort(shown[:, 0])]
    np.testing.assert_allclose(shown, np.stack([true + 5, true], axis=1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert all(tick % 50 == 0 for tick in ax.get_xticks())
    assert_nothing_clipped(ax.figure)


def test_predictions_of_many_samples_are_thinned():
    ax = plots.plot_predictions(np.arange(6000.0), np.arange(6000.0))
    assert len(ax.collections[0].get_offsets()) == 5000


def test_the_worst_predictions_are_not_left_out():
    rng = np.random.default_rng(0)
    true = rng.standard_normal(20_000)
    predicted = true + 0.01 * rng.standard_normal(20_000)
    worst = rng.permutation(20_000)[:500]
    predicted[worst] += np.where(rng.random(500) < 0.5, -3, 3)
    ax = plots.plot_predictions(true, predicted)
    shown = ax.collections[0].get_offsets()
    assert (np.abs(shown[:, 0] - shown[:, 1]) > 1).sum() == 500
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "5,000 of 20,000 samples,\nwith the 500 worst" in texts
    again = plots.plot_predictions(true, predicted).collections[0].get_offsets()
    assert np.array_equal(shown, again)


def test_large_numbers_have_units():
    true = np.linspace(120_000, 2_400_000, 40)
    ax = plots.plot_predictions(true, true)
    ax.figure.canvas.draw()
    texts = [text.get_text() for text in ax.get_xticklabels() if text.get_text()]
    assert "1M" in texts
    assert "500k" in texts
    ax = plots.plot_predictions(true / 1000, true / 1000)
    ax.figure.canvas.draw()
    assert "1000" in [text.get_text() for text in ax.get_xticklabels()]


def test_names_of_features_on_a_decision_boundary():
    model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0)])
    rows = np.random.default_rng(0).standard_normal((9, 2))
    ax = plots.plot_decision_boundary(model, rows, feature_names=["age", "$ a $"], resolution=9)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("age", r"\$ a \$")
    with pytest.raises(ValueError, match="feature_names has 1 names, expected 2"):
        plots.plot_decision_boundary(model, rows, feature_names=["age"])


# ---------------------------------------------------------------------- what is not installed


@pytest.mark.parametrize(
    ("missing", "draw", "error"),
    [
        (
            "matplotlib",
            lambda h: h.plot(),
            'pictures need matplotlib: pip install "matplotlib>=3.8"',
        ),
        (
            "sklearn",
            lambda _: plots.plot_confusion_matrix([0], [0]),
            'this picture needs scikit-learn: pip install "scikit-learn>=1.9"',
        ),
    ],
)
def test_missing_libraries(monkeypatch, history, missing, draw, error):
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as caught:
        draw(history)
    assert str(caught.value) == error


def test_importing_fastnn_loads_no_matplotlib():
    from child import run_python

    assert run_python("import sys, fastnn, fastnn.plots; print('matplotlib' in sys.modules)") == (
        "False"
    )
