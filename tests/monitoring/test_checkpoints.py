"""Checkpoints: what they hold, that they are whole, and what is refused."""

from __future__ import annotations

import json
import os
import warnings

import numpy as np
import pytest
from helpers.fits import Fit, falling, record

from chainrule.monitoring.checkpoints import Checkpoint, load_checkpoint, save_checkpoint


def test_checkpoint_holds_parameters_and_record(tmp_path):
    path = tmp_path / "best.npz"
    keep = Checkpoint(path)
    fit = Fit()
    fit.run(falling([3.0, 1.0, 2.0]), keep)
    assert keep.saved_ == [0, 1]
    loaded = load_checkpoint(path)
    assert loaded["record"] == record(1, validation_loss=1.0)
    assert [W.shape for W in loaded["coefs"]] == [(2, 3), (3, 1)]
    np.testing.assert_array_equal(loaded["coefs"][0], 1.0)  # those of epoch 1, not the last
    np.testing.assert_array_equal(loaded["intercepts"][1], [1.0])
    assert os.listdir(tmp_path) == ["best.npz"]


def test_checkpoint_keeps_bits_dtypes_and_order(tmp_path):
    rng = np.random.default_rng(0)
    coefs = [rng.standard_normal((2, 2)).astype(np.float32) for _ in range(12)]
    save_checkpoint(tmp_path / "a.npz", coefs, [W[0] for W in coefs], record(0))
    loaded = load_checkpoint(tmp_path / "a.npz")
    for W, b, got_W, got_b in zip(
        coefs, [W[0] for W in coefs], loaded["coefs"], loaded["intercepts"], strict=True
    ):
        assert got_W.dtype == np.float32
        np.testing.assert_array_equal(got_W, W)
        np.testing.assert_array_equal(got_b, b)


def test_a_checkpoint_of_other_kernels_is_told(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    named = "chainrule.monitoring.checkpoints.blas_kernels"
    for before, now, told in [
        (["openblas 0.3 Haswell"], ["openblas 0.3 SkylakeX"], True),
        (["openblas 0.3 Haswell"], ["openblas 0.3 Haswell", "mkl 2024"], False),
    ]:
        monkeypatch.setattr(named, lambda before=before: before)
        save_checkpoint(path, [np.ones((2, 1))], [np.ones(1)], record(0))
        monkeypatch.setattr(named, lambda now=now: now)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_checkpoint(path)
        said = " ".join(str(one.message) for one in caught)
        assert (f"{path} was written with other BLAS kernels ({before[0]}" in said) == told


def test_checkpoint_without_validation_watches_the_loss(tmp_path):
    keep = Checkpoint(tmp_path / "a.npz")
    Fit().run([record(e, loss) for e, loss in enumerate([1.0, 2.0, 0.5])], keep)
    assert keep.saved_ == [0, 2]


def test_checkpoint_of_every_second_epoch_in_files_of_their_own(tmp_path):
    keep = Checkpoint(tmp_path / "{epoch:03d}.npz", save_best_only=False, every=2)
    Fit().run([record(e, 1.0 + e) for e in range(5)], keep)
    assert sorted(os.listdir(tmp_path)) == ["001.npz", "003.npz"]
    assert load_checkpoint(tmp_path / "003.npz")["record"]["epoch"] == 3


def test_checkpoint_is_whole_or_the_old_one(tmp_path, monkeypatch):
    """A crash in the middle of writing leaves the last one, and no litter."""
    path = tmp_path / "a.npz"
    Fit().run([record(0)], Checkpoint(path))

    def crash(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", crash)
    keep = Checkpoint(path)
    with pytest.warns(UserWarning, match=r"epoch 5 .*a\.npz: no space left; the fit goes on"):
        Fit().run([record(5)], keep)
    monkeypatch.undo()
    assert keep.saved_ == []
    assert load_checkpoint(path)["record"]["epoch"] == 0
    assert os.listdir(tmp_path) == ["a.npz"]


def test_checkpoint_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    Fit().run([record(0)], Checkpoint(tmp_path / "a.npz"))
    assert events[:2] == ["fsync", "rename"]


def test_checkpoint_refuses_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="path: no checkpoint can be written"):
        Fit().run([record(0)], Checkpoint(tmp_path / "no" / "a.npz"))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        Fit().run([record(0)], Checkpoint(tmp_path))


def test_load_checkpoint_refuses_what_is_none(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)
    path.write_bytes(b"not a file of arrays")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)
    np.savez(path, coefs_0=np.ones((2, 2)))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "one.npy")
    header = json.dumps({"chainrule_checkpoint": 99, "record": {}})
    np.savez(path, header=np.array(header))
    with pytest.raises(ValueError, match="version 99"):
        load_checkpoint(path)
    header = json.dumps({"chainrule_checkpoint": 1, "record": {}})
    np.savez(path, header=np.array(header), coefs_0=np.ones((2, 2)), other=np.ones(2))
    with pytest.raises(ValueError, match="damaged: it holds coefs_0, other"):
        load_checkpoint(path)
    save_checkpoint(path, [np.ones((2, 2))], [np.ones(2)], record(0))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)


class _Trap:
    def __reduce__(self):
        return os.abort, ()


def test_load_checkpoint_runs_nothing(tmp_path):
    bait = np.empty(1, object)
    bait[0] = _Trap()
    header = json.dumps({"chainrule_checkpoint": 1, "record": {}})
    np.savez(tmp_path / "a.npz", header=np.array(header), coefs_0=bait, intercepts_0=np.ones(1))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "a.npz")
