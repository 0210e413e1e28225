from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from chainrule.commands import plotting, recipes


@pytest.fixture(scope="module")
def data():
    return recipes.load()


@pytest.fixture(scope="module")
def results(data):
    return [recipes.Run(r._replace(epochs=2), data, 4)() for r in recipes.RECIPES.values()]


NAMES = ["samples.png", "curves.png", "confusion.png", "mistakes.png"]


@pytest.mark.parametrize("n", [1, 2])
def test_writes_four_whole_pngs_and_nothing_else(data, results, tmp_path, n):
    written = plotting.write_pictures(tmp_path, data, results[:n])
    assert [path.name for path in written] == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    for path in written:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        height, width, _ = imread(path).shape
        assert width == 1350
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
    mosaic = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(mosaic[3:11, 20:28], data.images_train[2])  # third of the row


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
    run = recipes.Run(recipes.ARTICLE, data, 0)
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
    expected = sorted(f"said {result.said[i]}, is {data.y_test[i]}" for i in wrong)
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
    assert {int(caption[-1]) for caption in captions} >= mistaken - {
        digit for digit in mistaken if (data.y_test == digit)[result.said != data.y_test].sum() < 4
    }


def test_a_run_without_mistakes_has_an_empty_page(data, results):
    perfect = recipes.Result(results[0].recipe, 0, results[0].network, said=data.y_test.copy())
    perfect.confusion = recipes.confusion_matrix(data.y_test, perfect.said)
    figure = plotting.mistakes(data, [perfect])
    assert not figure.axes
    assert any("0 wrong" in text for text in texts(figure))
