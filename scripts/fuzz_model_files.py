"""Fuzz the reader of model files: python scripts/fuzz_model_files.py [--cases N].

Files of some small models are changed at random: bytes anywhere, and, with all lengths and
checksums made right again, what the parts of a file say. Each result must be refused with
ModelFileError, or be a model that predicts; within two seconds, within bounded memory, without an
import, another file opened, or anything run. A case is known by its number, and can be had again
with --start NUMBER --cases 1.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from chainrule import (
    MLPClassifier,
    MLPRegressor,
    ModelFileError,
    Network,
    TabularClassifier,
    TabularRegressor,
    load,
    save,
)
from chainrule.files.container import SUMS, frame_of, sums_of, write_container

SECONDS = 2.0  # of the processor's time, for a case
MEMORY = 1 << 29  # bytes that a case may add
FORBIDDEN = ("exec", "import", "open", "os.", "subprocess.", "socket.", "pickle.", "ctypes.")
HARMLESS = ("os.scandir", "os.listdir", "os.putenv", "os.unsetenv")
NASTY = [
    None, True, False, 0, 1, -1, 2, 3, 2**31, 2**63, 2**64, 10**4299, -(2**40), 0.5, -0.0, 1e308,
    1e-320, "", "a", "nan", "inf", "../../etc/passwd", "\x00", "é" * 300, "os", "system", "eval",
    "builtins", "float32", "float64", "int64", "object", "U1", "U99999999", "relu", "softmax",
    [], {}, [[]], [1, 2], {"a": 1}, {"$array": "0.coefs_.0"}, {"$array": "x"}, {"$tuple": [1]},
    {"$tuple": []}, {"$float": "nan"}, {"$float": "x"}, {"$dict": [[1, 2]]}, {"$dict": [[[], 1]]},
    {"$numpy": ["float64", 2.0]}, {"$numpy": ["int8", 300]}, {"$labels": ["a"], "dtype": "U9"},
    {"$labels": [1, "a"], "dtype": "object"}, {"$activation": "tanh"}, {"$activation": "eval"},
    {"$loss": "huber", "arguments": [0.5]}, {"$loss": "quantile", "arguments": [[0.5, 0.1]]},
    {"$layer": "dropout", "arguments": [0.5, 1]}, {"$layer": "affine"}, {"$schedule": "plateau"},
    {"$schedule": "warm_up", "arguments": {"schedule": "cosine", "epochs": 3}},
    {"$callback": "ProgressBar", "arguments": {"total": 3}}, {"$callback": "Checkpoint"},
    {"$random_state": ["0._rng", 624, 0, 0.0]}, {"$random_state": ["0._rng", 10**9, 0, 0.0]},
]  # fmt: skip
NAMES = [
    ("os", "system"), ("builtins", "eval"), ("builtins", "exec"), ("subprocess", "Popen"),
    ("builtins", "open"), ("numpy", "load"), ("pickle", "loads"), ("importlib", "import_module"),
    ("antigravity", "x"), ("this", "s"), ("sklearn.ensemble._forest", "RandomForestClassifier"),
    ("sklearn.preprocessing._function_transformer", "FunctionTransformer"), ("builtins", "str"),
    ("builtins", "dict"), ("numpy", "ndarray"), ("scipy.interpolate._bsplines", "BSpline"),
    ("sklearn.pipeline", "Pipeline"), ("chainrule.estimators.classifier", "MLPClassifier"),
]  # fmt: skip
LOADERS = [
    "DictNode", "ListNode", "TupleNode", "SetNode", "JsonNode", "NdArrayNode", "ObjectNode",
    "TypeNode", "FunctionNode", "MethodNode", "PartialNode", "OperatorFuncNode", "CachedNode",
    "ConstructorFromReduceNode", "TreeNode", "SparseMatrixNode", "BytesNode", "SliceNode",
    "DTypeNode", "RandomStateNode", "RandomGeneratorNode", "DefaultDictNode", "ReduceNode",
]  # fmt: skip


def seeds(folder: Path) -> list[tuple[dict[str, bytes], object]]:
    """Members of good files, and rows that each model takes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    X[:, 2] = rng.integers(0, 3, 40)
    y = np.array(["a", "b", "c"])[rng.integers(0, 3, 40)]
    small = {"hidden_layer_sizes": (3, 2), "max_iter": 3, "random_state": 0, "engine": "numpy"}
    models = [
        MLPClassifier(
            **small, missing="indicator", normalization="batch", activation=["elu", "relu"]
        ).fit(np.where(rng.random(X.shape) < 0.1, np.nan, X), y),
        MLPClassifier(**small, early_stopping=True, keep_optimizer_state=True).fit(X, y == "a"),
        MLPRegressor(**small, loss="quantile", quantile=[0.1, 0.9], learning_rate="plateau")
        .fit(X, np.stack([X[:, 0], X[:, 1] * 9], axis=1)),
        MLPClassifier(**small).fit(X, np.stack([y, y == "a"], axis=1).astype(object)),
        Network((3, 4, 2), activation="gelu", seed=0),
    ]  # fmt: skip
    data = [X] * len(models)
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, SplineTransformer

    columns = ColumnTransformer([("a", OneHotEncoder(), [2]), ("b", SplineTransformer(3), [0])])
    target = QuantileTransformer(n_quantiles=10)
    models.append(make_pipeline(columns, MLPClassifier(**small)).fit(X, y))
    models.append(
        TransformedTargetRegressor(MLPRegressor(**small), transformer=target).fit(X, X[:, 1])
    )
    data += [X, X]
    tiny = {"preset": "fast", "max_epochs": 2, "random_state": 0, "engine": "numpy"}
    models.append(TabularRegressor(**tiny).fit(X, X[:, :2]))
    data.append(X)
    try:
        import pandas as pd
        from skrub import TableVectorizer

        frame = pd.DataFrame(
            {"x": X[:, 0], "city": y, "day": pd.date_range("2024-01-01", periods=40)}
        )
        models.append(make_pipeline(TableVectorizer(), MLPRegressor(**small)).fit(frame, X[:, 1]))
        data.append(frame)
        models.append(TabularClassifier(**tiny).fit(frame, y))
        data.append(frame)
    except ImportError:
        print("skrub or pandas is not installed; no table among the seeds", file=sys.stderr)
    found = []
    for i, model in enumerate(models):
        path = folder / f"{i}.chainrule"
        save(model, path, created=None)
        load(path).predict(data[i])  # whatever is imported when it is first needed
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        found.append((members, data[i]))
    return found


def packed(members: dict[str, bytes]) -> bytes:
    """A container of these members, with sums that are right."""
    file = io.BytesIO()
    rest = {name: data for name, data in members.items() if name != SUMS}
    write_container(file, {**rest, SUMS: sums_of(rest)})
    return file.getvalue()


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut off, added or moved."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(new) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(new):
            new[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(new):
            new[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            del new[at:]
        elif kind == 3:
            del new[at : at + rng.choice((1, 4, 64))]
        elif kind == 4:
            new[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
        elif kind == 5:
            new[at : at + 8] = struct.pack(
                "<Q", rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, len(new)))
            )
        elif kind == 6:
            new += new[at : at + 500]
        else:
            new[at : at + 4] = rng.choice(
                (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\0" * 4, b"[[[[", b'{"":')
            )
    return bytes(new)


def places(tree: object) -> list[tuple[object, object]]:
    """Every (container, key) in a tree of JSON."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            found.append((node, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def tree_changed(data: bytes, rng: random.Random, pool: list[object], nodes: bool) -> bytes:
    """JSON with some values changed, left out, added, moved or put in each other's places."""
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        where = places(tree)
        if nodes and rng.random() < 0.5:  # what names types, and where
            special = ("__class__", "__module__", "__loader__", "__id__", "file", "type", "shape")
            where = [one for one in where if one[1] in special] or where
        node, key = rng.choice(where)
        other, other_key = rng.choice(where)
        kind = rng.randrange(9)
        if kind <= 2:
            node[key] = copy.deepcopy(rng.choice(pool))
        elif kind == 3:
            node.pop(key)
        elif kind == 4:
            node[key] = copy.deepcopy(other[other_key]) if other_key in _keys(other) else None
        elif kind == 5 and isinstance(node, dict):
            node[str(rng.choice(("", "$array", "$tuple", "x", other_key)))] = node.pop(key)
        elif kind == 6 and isinstance(node, list):
            node[key:key] = [copy.deepcopy(node[key])] * rng.choice((1, 2, 1000))
        elif kind == 7 and nodes and isinstance(node, dict):
            node["__module__"], node["__class__"] = rng.choice(NAMES)
            if rng.random() < 0.5:
                node["__loader__"] = rng.choice(LOADERS)
        elif isinstance(node[key], int | float):
            node[key] = rng.choice((-node[key], node[key] + 1, node[key] * 10**6, float(node[key])))
        else:
            node[key] = "DEEP"
    text = json.dumps(tree)
    n = rng.choice((5, 25, 100, 500, 50_000) if text.count("DEEP") == 1 else (5, 25))
    text = text.replace('"DEEP"', '{"content": [' * n + "1" + "]}" * n)
    if rng.random() < 0.02:
        text = rng.choice(("[" * 100_000, '{"a":' * 50_000, text * 2, "[" + "{}," * 300_000 + "1]"))
    return text.encode()


def _keys(node: object) -> object:
    return node if isinstance(node, dict) else range(len(node))


def weights_changed(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with other numbers, or another list of arrays."""
    length = int.from_bytes(data[:8], "little")
    head, rest = data[8 : 8 + length], data[8 + length :]
    kind = rng.randrange(4)
    if kind == 0:
        rest = bytes_changed(rest, rng)
    elif kind == 1:
        head = bytes_changed(head, rng)
    else:
        pool = [*NASTY, "F32", "F64", "BF16", "I64", "F8_E4M3", [0, 8], [2**40, 2**20], [3, 3]]
        head = tree_changed(head, rng, pool, nodes=False)
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + rest


def pipeline_changed(data: bytes, rng: random.Random) -> bytes:
    """What skops wrote, with other nodes or arrays."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    kind = rng.randrange(8)
    if kind == 0:
        return bytes_changed(data, rng)
    if kind <= 5:
        members["schema.json"] = tree_changed(members["schema.json"], rng, NASTY, nodes=True)
    elif kind == 6 and len(names) > 1:
        name = rng.choice(names[1:])
        members[name] = bytes_changed(members[name], rng)
    else:
        name = rng.choice(names)
        members[rng.choice((*names, "../x.npy", "9.npy"))] = members.pop(name)
    file = io.BytesIO()
    write_container(file, members)
    return file.getvalue()


def frame_changed(members: dict[str, bytes], rng: random.Random) -> bytes:
    """A container whose frame is right in itself, but not as ours are."""
    names = list(members)
    parts = [[name, members[name]] for name in names]
    kind = rng.randrange(6)
    one = rng.choice(parts)
    if kind == 0:
        one[0] = rng.choice(("../../evil", "/etc/passwd", "header.json", "C:\\x", "a" * 60, "x/y"))
    elif kind == 1:
        parts.insert(rng.randrange(len(parts) + 1), list(one))
    elif kind == 2:
        parts.remove(one)
    elif kind == 3:
        rng.shuffle(parts)
    elif kind == 4:
        one[1] = b""
    file = io.BytesIO()
    if kind == 5:  # compressed, with a bomb perhaps
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts:
                archive.writestr(name, data if rng.random() < 0.8 else b"\0" * 50_000_000)
        return file.getvalue()
    heads, _, tail = frame_of([(n, len(d), zipfile.crc32(d)) for n, d in parts])
    for head, (_, data) in zip(heads, parts, strict=True):
        file.write(head + data)
    return file.getvalue() + tail


def case(number: int, seed: int, corpus: list) -> tuple[bytes, object]:
    """The file of a case, and rows for its model."""
    rng = random.Random(f"{seed} {number}")
    members, data = rng.choice(corpus)
    members = dict(members)
    kind = rng.randrange(10)
    if kind <= 1:
        return bytes_changed(packed(members), rng), data
    if kind == 2:
        return frame_changed(members, rng), data
    if kind == 3:
        members["header.json"] = bytes_changed(members["header.json"], rng)
    elif kind in (4, 5):
        members["weights.safetensors"] = weights_changed(members["weights.safetensors"], rng)
    elif kind in (6, 7) and "pipeline.skops" in members:
        members["pipeline.skops"] = pipeline_changed(members["pipeline.skops"], rng)
    else:
        members["header.json"] = tree_changed(members["header.json"], rng, NASTY, nodes=False)
    return packed(members), data


class Watch:
    """What the interpreter tells of itself while a case is being read."""

    def __init__(self, path: str) -> None:
        self.path, self.on, self.seen = path, False, []
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple) -> None:
        if not self.on or not event.startswith(FORBIDDEN) or event in HARMLESS:
            return
        if event == "open" and str(args[0]) == self.path:
            return
        self.seen.append(f"{event} {str(args)[:100]}")


def out_of_time(*_: object) -> None:
    raise BaseException(f"more than {SECONDS:g} seconds")


def run(start: int, cases: int, seed: int, folder: Path, progress: int) -> Counter:
    """Run cases; the number of each goes to a file first, in case that it ends the process."""
    warnings.simplefilter("ignore")
    corpus = seeds(folder)
    path = folder / "case.chainrule"
    watch = Watch(str(path))
    modules = set(sys.modules)
    for one in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(one, out_of_time)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    told: Counter = Counter()
    began = time.monotonic()
    with open(folder / "number", "wb", buffering=0) as numbers:
        for number in range(start, start + cases):
            os.pwrite(numbers.fileno(), b"%012d" % number, 0)
            content, data = case(number, seed, corpus)
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.setitimer(signal.ITIMER_REAL, 60 * SECONDS)  # it may also wait for something
            watch.on = True
            try:
                model = load(path)
                told["read"] += 1
                judge(model, data, told)
            except ModelFileError as error:
                told["refused"] += 1
                if str(path) not in str(error):
                    raise SystemExit(f"case {number}: {error}: does not name the file") from error
            except BaseException as error:
                raise SystemExit(f"case {number}: {type(error).__name__}: {error}") from error
            finally:
                watch.on = False
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            if watch.seen or set(sys.modules) != modules:
                raise SystemExit(f"case {number}: {watch.seen} {set(sys.modules) - modules}")
            if progress and (number + 1 - start) % progress == 0:
                rate = (number + 1 - start) / (time.monotonic() - began)
                print(f"{number + 1 - start:,} cases, {rate:.0f}/s: {dict(told)}", flush=True)
    return told


def judge(model: object, data: object, told: Counter) -> None:
    """An estimator that was read predicts; so may a pipeline, or it fails as Python code does."""
    if isinstance(model, MLPClassifier | MLPRegressor):
        if hasattr(model, "coefs_"):
            rows = np.zeros((3, model.n_features_in_), model._dtype_name)
            assert len(model.predict(rows)) == 3
    elif isinstance(model, Network):
        assert model.predict(np.zeros((3, model.sizes[0]))).shape == (3, model.sizes[-1])
    else:
        try:
            model.predict(data)
        except Exception:
            told["predicts nothing"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        faulthandler.enable()
        told = run(args.start, args.cases, args.seed, args.child, progress=10_000)
        print(f"{args.cases:,} cases: {told['refused']:,} refused, {told['read']:,} read")
        return
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as folder:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--child", folder], check=False
        )
        if done.returncode < 0:
            number = int((Path(folder) / "number").read_bytes())
            sys.exit(f"case {number}: the process ended by signal {-done.returncode}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
