from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from chainrule.commands import plotting
from chainrule.digits import recipes, runs


@pytest.fixture(scope="module")
def data():
    return recipes.load()


@pytest.fixture(scope="module")
def results(data):
    return [runs.Run(r._replace(epochs=2), data, 4)() for r in recipes.BOTH]


NAMES = ["samples.png", "curves.png", "confusion.png", "mistakes.png", "weights.png"]


@pytest.mark.parametrize("n", [1, 2])
def test_writes_five_whole_pngs_and_nothing_else(data, results, tmp_path, n):
    written = plotting.write_pictures(tmp_path, data, results[:n])
    assert [path.name for path in written] == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    for path in written:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        height, width, _ = imread(path).shape
        assert width == 1080
        assert height >= 400


def test_pictures_do_not_depend_on_the_users_settings(data, results, tmp_path):
    import matplotlib as mpl

    before = mpl.rcParams["font.size"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plotting.write_pictures(tmp_path / "a", data, results)
    with mpl.rc_context({"font.size": 20, "savefig.dpi": 40, "axes.linewidth": 9}):
        plotting.write_pictures(tmp_path / "b", data, results)
    assert mpl.rcParams["font.size"] == before
    for name in NAMES:
        np.testing.assert_array_equal(imread(tmp_path / "a" / name), imread(tmp_path / "b" / name))


def test_a_picture_that_fails_leaves_the_old_one_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "samples.png"
    path.write_bytes(b"the old one")

    def break_off(self, file, **kwargs):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", break_off)
    with pytest.raises(OSError, match="No space"):
        plotting.save(Figure(), path)
    assert path.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["samples.png"]


def texts(figure):
    own = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        own += [text.get_text() for text in axes.texts]
        own += [axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")]
        if axes.get_legend():
            own += [text.get_text() for text in axes.get_legend().get_texts()]
    return own


def test_samples_show_the_first_digits_with_their_labels(data):
    figure = plotting.samples(data)
    captions = [text.get_text() for text in figure.axes[0].texts]
    assert captions == [str(label) for label in data.y_train[:30]]
    for k, image in enumerate(figure.axes[0].images):
        row = image.get_array()
        np.testing.assert_array_equal(row[:, 20:28], data.images_train[10 * k + 2])
    assert k == 2


def test_curves_draw_every_epoch_of_every_run(results):
    left, right = plotting.curves(results).axes
    for k, result in enumerate(results):
        lines = left.lines[2 * k], right.lines[2 * k]
        accuracy, cost = (line.get_ydata() for line in lines)
        np.testing.assert_array_equal(accuracy, [record.accuracy for record in result.epochs])
        np.testing.assert_array_equal(cost, [record.cost for record in result.epochs])
    assert (
        left.lines[0].get_linestyle() != left.lines[2].get_linestyle()
    )  # to be told apart in grey
    written = texts(plotting.curves(results))
    assert {"epoch", "accuracy", "cost"} <= set(written)
    assert any(text.startswith("modern") for text in written)


def test_curves_of_a_run_without_an_epoch_are_empty(data):
    run = runs.Run(recipes.ARTICLE, data, 0)
    run._conclude()
    left, right = plotting.curves([run.result]).axes
    assert not left.lines
    assert not right.lines


def test_confusion_prints_every_count(results):
    figure = plotting.confusion(results)
    for axes, result in zip(figure.axes, results, strict=True):
        printed = np.zeros((10, 10), int)
        for text in axes.texts:
            column, row = (round(at) for at in text.get_position())
            printed[row, column] = int(text.get_text())
        np.testing.assert_array_equal(printed, result.confusion)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("taken for", "digit")


def test_mistakes_say_what_was_said_and_what_it_is(data, results):
    result = results[1]
    wrong = np.flatnonzero(result.said != data.y_test)
    expected = sorted(f"{data.y_test[i]} → {result.said[i]}" for i in wrong)
    figure = plotting.mistakes(data, [result])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == expected
    assert any(f"{len(wrong)} wrong" in text for text in texts(figure))


def test_too_many_mistakes_are_sampled_over_all_digits(data, results):
    result = results[0]
    assert result.total - result.correct > 60
    figure = plotting.mistakes(data, [result])
    captions = [text.get_text() for text in figure.axes[0].texts]
    assert len(captions) == 60
    assert any("60 of these are shown" in text for text in texts(figure))
    mistaken = set(data.y_test[result.said != data.y_test].tolist())
    assert {int(caption[0]) for caption in captions} >= mistaken - {
        digit for digit in mistaken if (data.y_test == digit)[result.said != data.y_test].sum() < 4
    }


def test_a_run_without_mistakes_has_an_empty_page(data, results):
    perfect = runs.Result(results[0].recipe, 0, results[0].network, said=data.y_test.copy())
    perfect.confusion = runs.confusion_matrix(data.y_test, perfect.said)
    figure = plotting.mistakes(data, [perfect])
    assert not figure.axes
    assert any("0 wrong" in text for text in texts(figure))


def test_weights_are_those_of_the_units_that_lead_to_each_digit(results):
    result = results[0]
    W = result.network.W
    rows = plotting.weights([result]).axes[0].images
    assert len(rows) == 4
    for digit in range(10):
        strongest = np.argsort(-W[2][:, digit])[:4]
        for row, unit in zip(rows, strongest, strict=True):
            shown = row.get_array()[:, 10 * digit : 10 * digit + 8]
            np.testing.assert_array_equal(shown, W[1][:, unit].reshape(8, 8))
            assert row.get_clim()[0] == -row.get_clim()[1]  # so that 0 is the same grey everywhere


@pytest.mark.parametrize(
    ("hidden", "images", "words"),
    [
        ((), 10, "the outputs"),
        ((1,), 10, "its one unit"),
        ((3,), 30, "the 3 units with the largest weights"),
        ((30, 12), 30, "all 30 units"),
        ((50, 12), 40, "the 40 units of largest weights"),
    ],
)
def test_weights_of_any_depth(data, hidden, images, words):
    result = runs.Run(recipes.ARTICLE._replace(hidden=hidden, epochs=1), data, 0)()
    figure = plotting.weights([result])
    shown = sum(
        np.isfinite(np.asarray(row.get_array(), float)).all(axis=0).sum() // 8
        for row in figure.axes[0].images
    )
    assert shown == images
    assert any(words in text for text in texts(figure))


def test_rows_without_an_answer_have_a_column_and_a_dash(data):
    result = runs.Run(recipes.ARTICLE, data, 4)()
    figure = plotting.confusion([result])
    panel, bars = figure.axes
    assert [label.get_text() for label in panel.get_xticklabels()][-1] == "–"
    printed = np.zeros((10, 11), int)
    for text in panel.texts:
        column, row = (round(at) for at in text.get_position())
        printed[row, column] = int(text.get_text())
    np.testing.assert_array_equal(printed, result.answers)
    assert "10 of 35" in [text.get_text() for text in bars.texts]
    assert "(10 without an answer)" in bars.get_xlabel()
    captions = [text.get_text() for text in plotting.mistakes(data, [result]).axes[0].texts]
    assert "7 → –" in captions


def test_pictures_leave_no_large_part_empty(data):
    """No blank margin of more than an eighth of the width or height."""
    result = runs.Run(recipes.ARTICLE, data, 0)()
    for figure in (plotting.confusion([result]), plotting.curves([result]), plotting.samples(data)):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        ink = (np.asarray(canvas.buffer_rgba())[:, :, :3] < 250).any(axis=2)
        for axis in (0, 1):
            inked = np.flatnonzero(ink.any(axis=axis))
            size = ink.shape[1 - axis]
            assert inked[0] < size / 8
            assert inked[-1] > size * 7 / 8
            assert np.diff(inked).max() < size / 8
