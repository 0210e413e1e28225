"""Files that are no model files, are damaged, or mean harm: each is refused, and says why."""

from __future__ import annotations

import binascii
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.models import classifier, fitted
from hypothesis import given
from hypothesis import strategies as st

from chainrule import ModelFileError, load, read_header, save
from chainrule.files.container import SUMS, frame_of, sums_of, write_container
from chainrule.monitoring.checkpoints import save_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good file's path."""
    path = tmp_path_factory.mktemp("good") / "model.chainrule"
    save(fitted(classifier()), path)
    return path


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != SUMS}


def sealed(members, path):
    """A file with these members, and sums that are right."""
    with open(path, "wb") as file:
        write_container(file, {**members, SUMS: sums_of(members)})
    return path


def with_header(good, path, change):
    members = members_of(good)
    header = json.loads(members["header.json"])
    change(header)
    return sealed({**members, "header.json": json.dumps(header).encode()}, path)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/this-must-not-be-here",)


OTHER_FILES = {
    "a table": (b"a,b\n1,2\n", "no model file: it is a text, perhaps a table"),
    "a table in UTF-8 with a mark": ("\ufeffä;b\r\n1;2\r\n".encode(), "a text"),
    "empty": (b"", "it is empty"),
    "a pickle": (pickle.dumps({"a": Bomb()}), "looks like a pickle, which is not opened"),
    "Parquet": (b"PAR1" + b"\0" * 40, "Parquet"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 40, "gzip"),
    "noise": (bytes(range(256)) * 9, "does not begin as one"),
    "four letters": (b"PK\3\4", "cut short"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("read", [load, read_header])
def test_other_files(name, read, tmp_path):
    content, says = OTHER_FILES[name]
    path = tmp_path / "it"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such model file"):
        load(tmp_path / "none")
    with pytest.raises(ModelFileError, match="is a folder"):
        load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ModelFileError, match="no ordinary file"):
            load(tmp_path / "pipe")


def test_other_zip_files(good, tmp_path):
    path = tmp_path / "a.npz"
    save_checkpoint(path, [np.eye(2)], [np.ones(2)], {"epoch": 0})
    with pytest.raises(ModelFileError, match="cannot be read as a model file"):
        load(path)
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in members_of(good).items():
                archive.writestr(name, data)
        with pytest.raises(ModelFileError, match="cannot be read as a model file"):
            load(path)
    sealed({"weights.safetensors": b""}, path)
    with pytest.raises(ModelFileError, match=r"it has no header\.json"):
        load(path)


@pytest.mark.parametrize("again", ["header.json", "weights.safetensors", SUMS])
def test_two_members_of_one_name(again, good, tmp_path):
    """Other tools might read the first where we read the last."""
    members = [*members_of(good).items()]
    members.append((SUMS, sums_of(dict(members))))
    at = [name for name, _ in members].index(again)
    members.insert(at, members[at])
    entries = [(name, len(data), binascii.crc32(data)) for name, data in members]
    heads, _, tail = frame_of(entries)
    path = tmp_path / "two.chainrule"
    body = b"".join(head + data for head, (_, data) in zip(heads, members, strict=True))
    path.write_bytes(body + tail)
    for read in (load, read_header):
        with pytest.raises(ModelFileError, match="two of its members have one name"):
            read(path)


def test_a_bomb_is_not_blown_up(tmp_path):
    """256 MB of zeros in a quarter of a megabyte: refused from the list of members."""
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("header.json", "w") as file:
            for _ in range(256):
                file.write(bytes(1 << 20))
        archive.writestr(SUMS, b"")
    assert path.stat().st_size < 500_000
    code = (
        "import resource, sys, chainrule\n"
        "from chainrule.files import persistence\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try: chainrule.load({str(path)!r})\n"
        "except chainrule.ModelFileError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert "its members are compressed" in message
    assert int(kilobytes) < 20_000


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "header.json/..", "x", "C:\\x"])
def test_members_with_other_names(name, good, tmp_path):
    path = sealed({**members_of(good), name: b"evil"}, tmp_path / "a")
    with pytest.raises(ModelFileError, match=r"its members are 'header\.json'"):
        load(path)
    assert os.listdir(tmp_path) == ["a"]


@given(data=st.data())
def test_any_bit_that_flips_is_noticed(good, data, tmp_path_factory):
    raw = bytearray(good.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError):
        load(path)


def test_any_cut_is_noticed(good, tmp_path):
    raw, path = good.read_bytes(), tmp_path / "cut"
    for length in range(0, len(raw), 97):
        path.write_bytes(raw[:length])
        with pytest.raises(ModelFileError, match=r"cut short|is empty|does not begin|a text"):
            load(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(ModelFileError, match="something was added"):
        load(path)


def test_other_versions(good, tmp_path):
    path = with_header(good, tmp_path / "a", lambda header: header.update(version=2))
    with pytest.raises(
        ModelFileError, match=r"of version 2; this chainrule .* reads version 1; a n"
    ):
        load(path)
    with_header(good, path, lambda header: header.update(version="1"))
    with pytest.raises(ModelFileError, match="of version 1; "):
        read_header(path)
    with_header(good, path, lambda header: header.update(format="other"))
    with pytest.raises(ModelFileError, match="of another format"):
        load(path)


def entry(header):
    return header["estimators"][0]


LIES = {
    "n_features_in_ is not": lambda h: entry(h)["fitted"].update(n_features_in_=-1),
    "other shapes than layers of": lambda h: entry(h)["fitted"].update(n_features_in_=5),
    "n_layers_ is 4 for 3": lambda h: entry(h)["fitted"].update(n_layers_=4),
    "n_outputs_ is 4 for 3": lambda h: entry(h)["fitted"].update(n_outputs_=4),
    "loss_curve_ is missing": lambda h: entry(h)["fitted"].pop("loss_curve_"),
    "has no attribute 'predict'": lambda h: entry(h)["fitted"].update(predict=1),
    "has no parameter 'code'": lambda h: entry(h)["parameters"].update(code="1"),
    "'Evil' is no estimator": lambda h: entry(h).update({"class": "Evil"}),
    "no activation 'os.system'": lambda h: entry(h)["parameters"].update(
        activation={"$activation": "os.system"}
    ),
    "makes no loss 'eval'": lambda h: entry(h)["parameters"].update(
        loss={"$loss": "eval", "arguments": ["1"]}
    ),
    "makes no callback 'CSVLog'": lambda h: entry(h)["parameters"].update(
        callbacks=[{"$callback": "CSVLog", "arguments": ["/etc/passwd"]}]
    ),
    "hidden_layer_sizes' parameter": lambda h: entry(h)["parameters"].update(
        hidden_layer_sizes="x"
    ),
    "other shapes than layers of .*1000000000000": lambda h: entry(h)["parameters"].update(
        hidden_layer_sizes=[10**12]
    ),
    "the header describes other layers": lambda h: entry(h)["layers"].update(sizes=[4, 3]),
    "nothing uses the array '0.coefs_.1'": lambda h: h.update(kind="estimator", estimators=[]),
    "number generator is damaged": lambda h: entry(h)["fitted"]["_rng"][
        "$random_state"
    ].__setitem__(1, 10**9),
    "a 'pipeline' with header.json, weights": lambda h: h.update(kind="pipeline"),
    "n_threads' parameter": lambda h: entry(h)["parameters"].update(n_threads=10**6),
    "out_activation_ is not 'softmax'": lambda h: entry(h)["fitted"].update(out_activation_="best"),
    "another model than": lambda h: h.update(model="Magic"),
    "another classes than": lambda h: h.update(classes=["x", "y", "z"]),
    "of more than|more than 2,000 keys": lambda h: entry(h)["parameters"].update(
        class_weight={"$dict": [[i * (2**61 - 1), 1] for i in range(100_000)]}
    ),
    "nested deeper than": lambda h: entry(h)["parameters"].update(
        coefs_init=json.loads("[" * 90 + "]" * 90)
    ),
}


@pytest.mark.parametrize("says", LIES)
def test_headers_that_lie(says, good, tmp_path):
    if says.startswith("nothing uses"):
        says = "damaged .*not enough values"
        path = with_header(good, tmp_path / "a", lambda h: h.update(estimators=[]))
    else:
        path = with_header(good, tmp_path / "a", LIES[says])
    with pytest.raises(ModelFileError, match=says):
        load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ("[" + "{}," * 600_000 + "1]", "more than 200,000 parts"),
        ("{" + '"ab":1,' * 1_500_000 + '"a":1}', "2,000,000 values"),
        ('{"version": NaN}', "NaN is no number"),
        ('{"a": 1, "a": 2}', "stands in it twice"),
        ("[]", "it is no object"),
        ('{"version": ' + "9" * 5000 + "}", "damaged"),
        ("{}", "of another format"),
        (b"\xff\xfe", "decode"),
    ],
)
def test_headers_that_are_not_json(text, says, good, tmp_path):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ModelFileError, match=says):
        load(sealed({**members_of(good), "header.json": data}, tmp_path / "a"))


def test_weights_that_lie(good, tmp_path):
    import safetensors.numpy

    members = members_of(good)
    arrays = safetensors.numpy.load(members["weights.safetensors"])

    def refused(says, **changes):
        changed = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
        weights = safetensors.numpy.save(changed)
        path = sealed({**members, "weights.safetensors": weights}, tmp_path / "a")
        with pytest.raises(ModelFileError, match=says):
            load(path)

    first = arrays["0.coefs_.0"]
    refused("other shapes than layers", **{"0.coefs_.0": first[:, :4].copy()})
    refused("are float32, not float64", **{"0.coefs_.0": first.astype(np.float32)})
    refused("coefs_ is not what", **{"0.coefs_.0": first.astype(np.int64)})
    refused("coefs_ is not what", **{"0.coefs_.0": np.zeros((0, 5))})
    refused("not finite", **{"0.coefs_.0": first * np.inf})
    refused("damaged", **{"0.coefs_.0": None})
    refused("nothing uses the array 'extra'", extra=np.ones(3))
    refused("_scaling does not fit", **{"0._scaling.0": np.ones(3)})


@pytest.mark.parametrize(
    "labels",
    [["b", "a", "c"], ["a", "a", "c"], ["a", 1, "c"], [True, 2, 3], [1.0, {"$float": "nan"}]],
)
def test_classes_that_are_doubled_mixed_or_out_of_order(labels, good, tmp_path):
    def change(header):
        entry(header)["fitted"]["classes_"] = {"$labels": labels, "dtype": "object"}

    path = with_header(good, tmp_path / "a", change)
    with pytest.raises(ModelFileError, match=r"classes_ is not what it should be|damaged"):
        load(path)


@pytest.mark.parametrize("where", ["_scaling", "_missing", "coefs_"])
def test_numbers_that_are_not_finite_anywhere(where, tmp_path):
    import safetensors.numpy
    from helpers.models import HOLES, THREE

    path = tmp_path / "a"
    save(fitted(classifier(THREE, HOLES, missing="indicator", standardize=True)), path)
    members = members_of(path)
    arrays = safetensors.numpy.load(members["weights.safetensors"])
    name = next(one for one in arrays if where in one and arrays[one].dtype.kind == "f")
    arrays[name].flat[0] = np.nan
    sealed({**members, "weights.safetensors": safetensors.numpy.save(arrays)}, path)
    with pytest.raises(ModelFileError, match=f"'{re.escape(name)}' holds numbers"):
        load(path)


def test_messages_control_no_terminal_and_are_short(good, tmp_path):
    path = with_header(good, tmp_path / "a", lambda h: entry(h).update({"class": "\x1b[2J" * 999}))
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1_100


@pytest.mark.skipif(os.name != "posix", reason="needs a home that cannot be")
def test_a_fault_of_the_machine_is_not_called_damage(good, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("safetensors.numpy.load", fail)
    with pytest.raises(OSError, match="Input/output error"):
        load(good)


def test_sums_that_lie(good, tmp_path):
    """The list of sums is a member like others; whoever changes one thing must change it too."""
    members = members_of(good)
    wrong = sums_of({**members, "header.json": b""})
    with open(tmp_path / "a", "wb") as file:
        write_container(file, {**members, SUMS: wrong})
    with pytest.raises(ModelFileError, match=r"header\.json is damaged \(its SHA-256 sum differs"):
        load(tmp_path / "a")
    assert hashlib.sha256(members["header.json"]).hexdigest() in sums_of(members).decode()


def test_too_large_is_not_read(good, tmp_path):
    path = sealed({**members_of(good), "header.json": b" " * ((1 << 24) + 1)}, tmp_path / "a")
    with pytest.raises(ModelFileError, match="more than 16,777,216 are not read"):
        load(path)
    with open(path, "r+b") as file:  # no more on the disk than before: the rest is a hole
        file.truncate((1 << 31) + 1)
    with pytest.raises(ModelFileError, match="more than 2,147,483,648 are not read"):
        load(path)


def test_fuzz():
    """A small part of `make fuzz`."""
    fuzz = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "fuzz_model_files.py")]
    done = subprocess.run(
        [*fuzz, "--cases", "300", "--seed", "7"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "300 cases: " in done.stdout


def test_the_fuzzer_notices_what_it_looks_for(tmp_path):
    """A reader that opens, imports, hangs, takes memory or fails otherwise is caught."""
    code = """
import os, sys, zipfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fuzz_model_files as fuzz
from chainrule import Network, save

def faults():
    __import__("this_is_no_module")
def opens(): open(os.devnull).close()
def hangs():
    while True: pass
def takes(): bytearray(1 << 30)
def fails(): raise KeyError("x")

def seeds(folder):
    save(Network((2, 1), seed=0), folder / "0")
    with zipfile.ZipFile(folder / "0") as archive:
        return [({name: archive.read(name) for name in archive.namelist()}, None)]

good, fuzz.seeds, fuzz.SECONDS = fuzz.load, seeds, 0.3
for fault in (faults, opens, hangs, fails, takes):
    fuzz.load = lambda path: fault() or good(path)
    try:
        fuzz.run(0, 20, 0, Path(sys.argv[2]), 0)
    except SystemExit as end:
        print(str(end).replace(chr(10), " ")[:60])
"""
    script = [sys.executable, "-W", "ignore", "-c", code, str(ROOT / "scripts"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    caught = ["ModuleNotFoundError", "open ", "more than 0.3", "KeyError", "MemoryError"]
    lines = done.stdout.splitlines()
    assert len(lines) == len(caught), done.stdout
    assert all(says in line for says, line in zip(caught, lines, strict=True)), lines
