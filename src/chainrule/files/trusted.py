"""The transformers of a pipeline, written with skops: a fixed list of types, and no other code.

A file that skops writes is a tree of nodes, each with the name of a type. Before skops is asked
to build anything, every node is compared with the lists below, by the grammar of its kind: so
that nothing outside of them is imported, let alone called, and no type with memory of its own is
given numbers that do not fit.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from chainrule.files.container import (
    ModelFileError,
    parsed,
    read_content,
    read_frame,
    write_container,
)
from chainrule.files.encoding import check_keys
from chainrule.tables.skrub_folder import prepare_skrub

SKLEARN_TYPES = (
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.compose._target.TransformedTargetRegressor",
    "sklearn.decomposition._pca.PCA",
    "sklearn.decomposition._truncated_svd.TruncatedSVD",
    "sklearn.ensemble._stacking.StackingClassifier",
    "sklearn.ensemble._stacking.StackingRegressor",
    "sklearn.ensemble._voting.VotingClassifier",
    "sklearn.ensemble._voting.VotingRegressor",
    "sklearn.feature_extraction.text.CountVectorizer",
    "sklearn.feature_extraction.text.HashingVectorizer",
    "sklearn.feature_extraction.text.TfidfTransformer",
    "sklearn.feature_extraction.text.TfidfVectorizer",
    "sklearn.feature_selection._variance_threshold.VarianceThreshold",
    "sklearn.impute._base.MissingIndicator",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.linear_model._base.LinearRegression",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.linear_model._ridge.Ridge",
    "sklearn.linear_model._ridge.RidgeCV",
    "sklearn.pipeline.FeatureUnion",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.Binarizer",
    "sklearn.preprocessing._data.MaxAbsScaler",
    "sklearn.preprocessing._data.MinMaxScaler",
    "sklearn.preprocessing._data.Normalizer",
    "sklearn.preprocessing._data.PowerTransformer",
    "sklearn.preprocessing._data.QuantileTransformer",
    "sklearn.preprocessing._data.RobustScaler",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._discretization.KBinsDiscretizer",
    "sklearn.preprocessing._encoders.OneHotEncoder",
    "sklearn.preprocessing._encoders.OrdinalEncoder",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.preprocessing._polynomial.PolynomialFeatures",
    "sklearn.preprocessing._polynomial.SplineTransformer",
    "sklearn.preprocessing._target_encoder.TargetEncoder",
)
SKRUB_TYPES = (
    "skrub._apply_to_cols.ApplyToCols",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._apply_to_sub_frame.ApplyToSubFrame",
    "skrub._check_input.CheckInputDataFrame",
    "skrub._clean_categories.CleanCategories",
    "skrub._clean_null_strings.CleanNullStrings",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._datetime_encoder._CircularEncoder",
    "skrub._datetime_encoder._SplineEncoder",
    "skrub._drop_similar.DropSimilar",
    "skrub._drop_uninformative.DropUninformative",
    "skrub._duration_to_float.DurationToFloat",
    "skrub._minhash_encoder.MinHashEncoder",
    "skrub._select_cols.Drop",
    "skrub._select_cols.DropCols",
    "skrub._select_cols.SelectCols",
    "skrub._similarity_encoder.SimilarityEncoder",
    "skrub._squashing_scaler.SquashingScaler",
    "skrub._squashing_scaler._MinMaxScaler",
    "skrub._string_encoder.StringEncoder",
    "skrub._table_vectorizer.Cleaner",
    "skrub._table_vectorizer.PassThrough",
    "skrub._table_vectorizer.ShortReprDict",
    "skrub._table_vectorizer.TableVectorizer",
    "skrub._to_categorical.ToCategorical",
    "skrub._to_datetime.ToDatetime",
    "skrub._to_float.ToFloat",
    "skrub._to_str.ToStr",
    "skrub._utils.LRUDict",
    "skrub.selectors._base.All",
    "skrub.selectors._base.And",
    "skrub.selectors._base.Cols",
    "skrub.selectors._base.Filter",
    "skrub.selectors._base.Inv",
    "skrub.selectors._base.NameFilter",
    "skrub.selectors._base.Or",
    "skrub.selectors._base.Sub",
    "skrub.selectors._base.XOr",
)
# Functions that skrub's and scikit-learn's objects refer to; each looks at its arguments only.
FUNCTIONS = (
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "skrub._dataframe._common.has_nulls",
    "skrub._dataframe._common.is_any_date",
    "skrub._dataframe._common.is_bool",
    "skrub._dataframe._common.is_categorical",
    "skrub._dataframe._common.is_duration",
    "skrub._dataframe._common.is_float",
    "skrub._dataframe._common.is_integer",
    "skrub._dataframe._common.is_numeric",
    "skrub._dataframe._common.is_object",
    "skrub._dataframe._common.is_string",
    "skrub._table_vectorizer._created_by_predicate",
    "skrub.selectors._selectors._cardinality_below",
)
OTHER_TYPES = (
    "chainrule.estimators.cleaning.TableCleaner",
    "scipy.interpolate._bsplines.BSpline",
)
SCALARS = (
    "builtins.bool",
    "builtins.float",
    "builtins.int",
    "builtins.str",
    "numpy.bool",
    "numpy.float32",
    "numpy.float64",
    "numpy.int32",
    "numpy.int64",
    "numpy.str_",
    "numpy.uint8",
)

# Modules of ours that have another name in older files.
MOVED = {
    "chainrule." + "tabular": "chainrule.estimators.cleaning",
    "chainrule.estimators.tabular": "chainrule.estimators.cleaning",
}

TRUSTED_TYPES: tuple[str, ...] = tuple(
    sorted((*SKLEARN_TYPES, *SKRUB_TYPES, *OTHER_TYPES, *FUNCTIONS))
)
"""Types and functions, beside numbers, strings, containers and arrays, that files may name."""

# Kinds of nodes, and the types that each may have.
LOADERS: dict[str, frozenset[str]] = {
    "DictNode": frozenset(
        {"builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"}
    ),
    "ListNode": frozenset({"builtins.list"}),
    "SetNode": frozenset({"builtins.set"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "JsonNode": frozenset({"builtins.str"}),
    "NdArrayNode": frozenset({"numpy.ndarray", *(one for one in SCALARS if "numpy" in one)}),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "TypeNode": frozenset(SCALARS),
    "FunctionNode": frozenset(FUNCTIONS),
    "ObjectNode": frozenset((*SKLEARN_TYPES, *SKRUB_TYPES, *OTHER_TYPES)),
}
PROTOCOLS = (2,)  # of skops, that this list was made for
SCHEMA = "schema.json"
MAX_NODES = 600_000  # a table of 1,000 columns has 450,000
MAX_ARRAYS = 50_000
DEEPEST = 200
ARRAY_NAME = re.compile(r"\d{1,9}\.npy")
ARRAY_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': "
    rb"'([<|>=]?(?:b1|[iuf][1248]|[US]\d{1,6}|[Mm]8\[\w+\]))', "
    rb"'fortran_order': (?:True|False), 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)


def write_transformers(model: Any) -> bytes:
    """A pipeline without our estimators, as skops writes it, in fewer bytes.

    Raises
    ------
    ModelFileError
        A type that is not trusted.
    """
    import zipfile

    import skops
    from skops.io._utils import SaveContext, get_state

    check_numbers(model)
    _register_nodes()
    # What skops.io.dumps does, but for the text: it writes an object wherever it is referred to,
    # indented, which takes twenty times as long.
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        context = SaveContext(zip_file=archive)
        try:
            schema = get_state(model, context)
        except Exception as error:  # skops names no class of its own for this
            raise ModelFileError(f"the pipeline cannot be stored with skops: {error}") from error
        schema |= {"protocol": context.protocol, "_skops_version": skops.__version__}
        numbering = _Numbering()
        schema = numbering.of(schema)
        arrays = {name: archive.read(old) for old, name in numbering.files.items()}
    text = json.dumps(schema, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    buffer = io.BytesIO()
    write_container(buffer, {SCHEMA: text, **arrays})
    data = buffer.getvalue()
    _audit(data, saving=True)
    return data


class _Numbering:
    """Objects and arrays numbered in the order in which skops builds them, each written once.

    skops writes an object anew wherever it is referred to, under the number that is its address
    in memory. When it reads, the first counts, and the others need no more than the number.
    """

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}
        self.files: dict[str, str] = {}

    def of(self, node: Any) -> Any:
        """The node as it is written."""
        if isinstance(node, list | tuple):
            return [self.of(one) for one in node]
        if not isinstance(node, dict) or "__loader__" not in node:
            return node
        kept = {key: value for key, value in node.items() if key != "__id__"}
        if "__id__" in node:
            number = node["__id__"]
            if number in self.ids:
                return {"__id__": self.ids[number]}
            kept["__id__"] = self.ids[number] = len(self.ids) + 1
        if kept["__loader__"] == "DictNode":
            # The keys of its content come from data and may be anything, such as "file" or
            # "__id__". skops builds the types of the keys first.
            kept["key_types"] = self.of(kept["key_types"])
            kept["content"] = {key: self.of(one) for key, one in kept["content"].items()}
            return kept
        if kept["__loader__"] == "NdArrayNode" and "file" in kept:
            kept["file"] = self.files.setdefault(kept["file"], f"{len(self.files)}.npy")
        return {key: self.of(value) for key, value in kept.items()}


def read_transformers(data: bytes) -> Any:
    """What :func:`write_transformers` was given.

    Raises
    ------
    ModelFileError
        It holds a type that is not trusted, or is damaged.
    """
    import zipfile

    schema, types = _audit(data)
    prepare_skrub()
    _register_nodes()
    from skops.io._audit import get_tree
    from skops.io._utils import LoadContext

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            context = LoadContext(src=archive, protocol=schema["protocol"])
            tree = get_tree(schema, context, trusted=types)
            # skops.io.loads calls a node once for every way that leads to it: in a file made for
            # that there are more than anyone can wait for.
            for node in _nodes(tree):
                if not node.is_self_safe():
                    raise ModelFileError(f"skops does not trust the {node.format()} in it")
            model = tree.construct()
    except ImportError as error:
        raise ModelFileError(
            f"its preprocessing needs {error.name or 'a package'}, which is not installed or is "
            "of another version; pip install 'chainrule[tables]'"
        ) from error
    check_numbers(model)
    return model


def _register_nodes() -> None:
    """Let skops know the kinds of nodes in `LOADERS`.

    The package skops.io does so for these and others when it is imported. The command line does
    not import it, but modules in it: others of its modules need much of scikit-learn.
    """
    from skops.io import _general, _numpy
    from skops.io._audit import NODE_TYPE_MAPPING
    from skops.io._utils import _get_state

    for module in (_general, _numpy):
        NODE_TYPE_MAPPING.update(module.NODE_TYPE_MAPPING)
        for kind, function in module.GET_STATE_DISPATCH_FUNCTIONS:
            _get_state.register(kind)(function)


def _nodes(root: Any) -> Iterator[Any]:
    """Every node of skops's below one, once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
        elif hasattr(node, "children") and id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += node.children.values()


def _audit(data: bytes, saving: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Compare every node with the lists; returns the nodes, and the types that they name."""
    file = io.BytesIO(data)
    members = {name: rest for name, *rest in read_frame(file, MAX_ARRAYS + 1)}
    if next(iter(members)) != SCHEMA:
        raise ModelFileError(f"its preprocessing does not begin with {SCHEMA}")
    raw = read_content(file, *_sized(members[SCHEMA]), SCHEMA)
    schema = parsed(raw, MAX_NODES, 8 * MAX_NODES)
    schema.pop("_skops_version", None)
    protocol = schema.pop("protocol", None)
    if protocol not in PROTOCOLS:
        raise ModelFileError(
            f"its preprocessing is in protocol {str(protocol)[:20]} of skops; this chainrule knows "
            f"{', '.join(map(str, PROTOCOLS))}"
        )
    audit = _Audit(set(members) - {SCHEMA}, saving)
    audit.run(schema)
    if audit.unread:
        raise ModelFileError(f"nothing in its preprocessing uses {min(audit.unread)}")
    for name, rest in members.items():
        if name != SCHEMA:
            _check_array(name, read_content(file, *_sized(rest), name))
    return schema | {"protocol": protocol}, sorted(audit.types)


def _sized(rest: list[int]) -> tuple[int, int, int]:
    length, crc, start = rest
    return length, crc, start


class _Audit:
    """A walk over the nodes in the order in which skops builds them."""

    def __init__(self, files: set[str], saving: bool) -> None:
        self.files, self.unread, self.saving = files, set(files), saving
        self.seen: set[int] = set()
        self.types: set[str] = set()

    def run(self, root: Any) -> None:
        """Look at all nodes below a root; parents come before, and parts in skops's order."""
        waiting = [(root, 0)]
        while waiting:
            node, depth = waiting.pop()
            if depth > DEEPEST:
                raise ModelFileError("its preprocessing is nested too deep")
            waiting += [(part, depth + 1) for part in reversed(self.parts(node))]

    def parts(self, node: Any) -> list[Any]:
        """Check one node; the nodes in it."""
        if not isinstance(node, dict):
            raise ModelFileError("its preprocessing holds something that is no node")
        number = node.get("__id__")
        if number is not None and type(number) is not int:
            raise ModelFileError("its preprocessing holds a node whose number is none")
        if set(node) == {"__id__"}:
            if number not in self.seen:
                raise ModelFileError("its preprocessing refers to a node that is not there")
            return []
        if number in self.seen:
            raise ModelFileError("its preprocessing holds one node twice")
        if number is not None:
            self.seen.add(number)
        loader = node.get("__loader__")
        if isinstance(module := node.get("__module__"), str) and module in MOVED:
            node["__module__"] = MOVED[module]
        name = f"{node.get('__module__')}.{node.get('__class__')}"
        if not isinstance(loader, str) or name not in LOADERS.get(loader, ()):
            raise ModelFileError(self.refusal(name))
        self.types.add(name)
        rest = set(node) - {"__id__", "__loader__", "__module__", "__class__"}
        return self.content(loader, node, rest)

    def content(self, loader: str, node: dict[str, Any], rest: set[str]) -> list[Any]:
        """Check what a node of that kind holds; the nodes in it."""
        content = node.get("content")
        if loader == "DictNode" and rest == {"content", "key_types"} and isinstance(content, dict):
            self.check_keys(node["key_types"])
            return [node["key_types"], *content.values()]
        if loader in ("ListNode", "TupleNode", "SetNode") and rest == {"content"}:
            if isinstance(content, list):
                if loader == "SetNode":
                    check_keys([None] * len(content))
                return content
        elif loader == "SliceNode" and rest == {"content"} and isinstance(content, dict):
            whole = all(one is None or type(one) is int for one in content.values())
            if whole and set(content) == {"start", "stop", "step"}:
                return []
        elif loader == "JsonNode" and rest <= {"content", "is_json"} and isinstance(content, str):
            return []
        elif loader == "NdArrayNode" and node.get("type") == "numpy" and rest == {"type", "file"}:
            if node["file"] in self.files:
                self.unread.discard(node["file"])
                return []
        elif loader == "NdArrayNode" and rest == {"type", "content", "shape"}:
            if node["type"] == "json" and isinstance(content, list):
                return [*content, node["shape"]]
        elif loader == "DTypeNode" and rest == {"content"}:
            return [content]
        elif (loader in ("TypeNode", "FunctionNode") and not rest) or (
            loader == "ObjectNode" and not rest
        ):
            return []
        elif loader == "ObjectNode" and rest == {"content"}:
            return [content]
        raise ModelFileError(f"its preprocessing holds a damaged {loader}")

    @staticmethod
    def check_keys(types: Any) -> None:
        """Refuse a dict with many keys that are no texts; see `encoding.check_keys`."""
        kinds = types.get("content") if isinstance(types, dict) else None
        if isinstance(kinds, list):
            text = {"builtins.str", "numpy.str_"}
            names = [
                f"{one.get('__module__')}.{one.get('__class__')}" if isinstance(one, dict) else ""
                for one in kinds
            ]
            check_keys(["" if name in text else None for name in names])

    def refusal(self, name: str) -> str:
        """What to say of a type that is not trusted."""
        if self.saving:
            return (
                f"the pipeline holds a {name}, which is not among chainrule.TRUSTED_TYPES: files "
                "hold transformers of scikit-learn's and skrub's from that list, and no functions "
                "or classes of yours; use one of those, or apply yours before the pipeline"
            )
        return f"its preprocessing names {name[:200]!r}, which is not among the trusted types"


def _check_array(name: str, data: bytes) -> None:
    """Whether a member is an array of plain numbers or strings, with as many as it says."""
    import math

    import numpy as np

    match = ARRAY_HEAD.match(data, 0, 400)
    if not ARRAY_NAME.fullmatch(name) or match is None:
        raise ModelFileError(f"its member {name} is no array of numbers or strings")
    shape = [int(n) for n in match[2].replace(b" ", b"").split(b",") if n]
    dtype = np.dtype(match[1].decode("ascii"))
    start = 10 + int.from_bytes(data[8:10], "little")
    if start != match.end() or len(shape) > 8:
        raise ModelFileError(f"its member {name} is a damaged array")
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ModelFileError(f"its member {name} has other numbers than its shape {shape} says")


def check_numbers(model: Any) -> None:
    """Refuse objects whose numbers compiled code would follow beyond their memory, or to files.

    Parameters
    ----------
    model : what skops built
    """
    from chainrule.files.walk import parts_of

    for part in parts_of(model):
        kind = type(part).__name__
        if kind == "BSpline":
            made = type(part)(part.t, part.c, part.k, part.extrapolate, part.axis)
            if made.c.shape != part.c.shape or not made.c.dtype == part.c.dtype:
                raise ModelFileError("a spline in its preprocessing is damaged")
        elif getattr(part, "memory", None) is not None:
            raise ModelFileError(
                f"a {kind} in the pipeline keeps results in a folder (memory={part.memory!r}); "
                "set memory=None"
            )
        elif kind.endswith("Vectorizer") and getattr(part, "input", "content") != "content":
            raise ModelFileError(f"a {kind} in the pipeline reads files (input={part.input!r})")
