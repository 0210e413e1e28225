"""A stand-in for an estimator, and the records that a fit makes."""

from __future__ import annotations

import csv

import numpy as np

from chainrule.monitoring.callbacks import as_callback, running


def record(epoch, loss=1.0, **others):
    return {
        "epoch": epoch,
        "loss": loss,
        "validation_loss": None,
        "validation_score": None,
        "learning_rate": 0.1,
        "gradient_norm": 2.0,
        "seconds": 0.5,
    } | others


class Fit:
    """Plays a fit: the parameters of epoch e are full of e."""

    def __init__(self, max_iter=200):
        self.max_iter = max_iter
        self.history_ = []

    def run(self, records, *given):
        with running([as_callback(one) for one in given], self) as epoch_end:
            for one in records:
                self.coefs_ = [np.full((2, 3), one["epoch"], float), np.full((3, 1), 0.5)]
                self.intercepts_ = [np.zeros(3), np.ones(1)]
                self.history_.append(one)
                if epoch_end(one):
                    return one["epoch"]
        return None


def falling(losses, key="validation_loss"):
    return [record(epoch, **{key: loss}) for epoch, loss in enumerate(losses)]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
