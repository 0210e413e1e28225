"""How cells of text spell numbers and dates, and what reads each way.

A spelling ("style") is one text, so that a model's file can keep it:

- "integer", "number" (`1234.5`), "comma" (`1.234,5`), "thousands" (`1,234.5`); the last three with
  a unit behind a blank if there is one, such as "comma €" or "number %";
- one of DATES, such as "iso" or "day first";
- a format of ``strptime``, such as "%d/%m/%y".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# A cell that says one of these is missing. (Quoted, it is text, if its column is text.)
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None")
# In a column whose other cells are all numbers, dates or truth values, these say so too.
MARKS = (
    *("?", "??", "???", "-", "--", "---", "–", "—", ".", "..", "...", "*"),
    *("na", "Na", "n.a.", "N.A.", "n. a.", "n.d.", "k.A.", "k. A.", "#NA", "#N/A N/A", "N.D."),
    *("none", "NONE", "Null", "(null)", "nil", "NIL", "NaT", "\\N", "-nan", "-NaN", "NAN", "Nan"),
    *("missing", "Missing", "MISSING", "unknown", "Unknown", "UNKNOWN", "(blank)", "blank"),
    *("#VALUE!", "#DIV/0!", "#REF!", "#NUM!", "#NAME?", "#NULL!", "#ERROR!"),
)
NUMBERS = ("number", "comma", "thousands")
# These can be read in one way only; which of day and month comes first has to be learnt.
_PLAIN_DATES = ("iso", "zoned", "compact", "year first", "named month", "named month first")
DATES = (*_PLAIN_DATES, "day first", "month first")

# What marks thousands whichever the decimal sign is: blanks and apostrophes.
_GROUPING = r" '\x{2019}\x{a0}\x{202f}"
_LAKHS = r"[1-9]\d?(?:,\d{2})+,\d{3}"  # 12,34,567: marked as in India
_SPACE = r"[\s\x{a0}\x{202f}]*"
_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    "|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_CLOCK = (
    r"(?:(?:T|,? +)(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
    r"(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"(?: ?(?P<z>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))"
_DAY_NAME = r"(?i:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?"
_NAMED = rf"(?P<m>(?i:{_MONTHS}))\.?"
_PATTERNS = {
    "iso": r"^(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})" + _CLOCK + ")?$",
    "zoned": r"^(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})" + _CLOCK + _ZONE + ")$",
    "compact": r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})T(?P<H>\d{2}):?(?P<M>\d{2})"
    r"(?::?(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?(?P<p>)" + _ZONE + "?$",
    "year first": r"^(?P<y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})" + _CLOCK + _ZONE + "?)?$",
    "day first": r"^(?P<d>\d{1,2})[/.-](?P<m>\d{1,2})[/.-](?P<y>\d{4})" + _CLOCK + _ZONE + "?)?$",
    "month first": r"^(?P<m>\d{1,2})[/.-](?P<d>\d{1,2})[/.-](?P<y>\d{4})" + _CLOCK + _ZONE + "?)?$",
    "named month": rf"^{_DAY_NAME}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:-|/|\.? ){_NAMED}(?:-|/|,? )"
    r"(?P<y>\d{4})" + _CLOCK + _ZONE + "?)?$",
    "named month first": rf"^{_DAY_NAME}{_NAMED} (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})"
    + _CLOCK
    + _ZONE
    + "?)?$",
    "comma": rf"^[+-]?(?:[1-9]\d{{0,2}}(?:[.{_GROUPING}]\d{{3}})+|\d+)?(?:,\d+)?$",
    "thousands": rf"^[+-]?(?:[1-9]\d{{0,2}}(?:[,{_GROUPING}]\d{{3}})+|{_LAKHS}|\d+)(?:\.\d+)?$",
}
# Thousands are marked beyond doubt where the decimal sign is a point.
_SURELY_THOUSANDS = (
    r"^[+-]?(?:[1-9]\d{0,2}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,}"
    rf"|(?:[{_GROUPING}]\d{{3}})+(?:\.\d+)?)|{_LAKHS}(?:\.\d+)?)$"
)

_CODES = (
    "USD EUR GBP CHF JPY CNY INR CAD AUD NZD SEK NOK DKK ISK PLN CZK HUF RON BGN TRY RUB UAH BRL "
    "MXN ARS CLP COP PEN ZAR EGP NGN KES KRW SGD HKD TWD THB IDR MYR PHP VND ILS SAR AED QAR KWD"
)
_UNIT = (
    rf"(?:US|CA|AU|NZ|HK|[RACS])\$|\p{{Sc}}|(?i:{_CODES.replace(' ', '|')})|kr\.?|zł|Kč|Ft|Fr\."
    r"|Rs\.?|руб\.?|%|‰"
)
_WITH_UNIT = (
    rf"^[(+\-\x{{2212}}]*(?P<before>{_UNIT})?{_SPACE}[(+\-\x{{2212}}]*"
    rf"[\d.,][\d.,\s{_GROUPING}]*(?P<behind>{_UNIT})?[)\-\x{{2212}}]*$"
)
_POINT_UNITS = ("$", "US$", "CA$", "C$", "AU$", "A$", "£", "¥", "₹", "USD", "GBP", "JPY", "INR")
SHARES = ("%", "‰")  # a number without the sign would be another one
ZERO = r"^[+-]?0*(?:[.,]0*)?$"


class MisfitError(Exception):
    """A cell is not spelled that way.

    Parameters
    ----------
    wrong : pyarrow.BooleanArray or None, default None
        Of which cells that is sure; others may be wrong too. None: of none.
    """

    def __init__(self, wrong: pa.BooleanArray | None = None) -> None:
        super().__init__()
        self.wrong = wrong


def in_words(type: str, style: str) -> str:
    """What a cell of a column has to be, with an example, for a message.

    Parameters
    ----------
    type : one of chainrule.tables.types.TYPES
    style : str
    """
    base, _, unit = style.partition(" ") if type == "number" else (style, "", "")
    if type == "number":
        example = {"comma": "1.234,5", "thousands": "1,234.5"}.get(base, "1234.5")
        how = {"comma": " with a decimal comma", "thousands": " with a decimal point"}.get(base, "")
        return f"a number{how}, such as {example}{f' {unit}' if unit else ''}"
    if type == "date":
        if style.startswith("%"):
            return f"a date of the format {style}"
        example = {
            "compact": "20241231T2359",
            "year first": "2024/12/31",
            "day first": "31/12/2024",
            "month first": "12/31/2024",
            "named month": "31-Dec-2024",
            "named month first": "Dec 31, 2024",
        }.get(style, "2024-12-31")
        how = f" with the {style.replace(' first', '')} first" if style.endswith(" first") else ""
        return f"a date{how.replace('named month', 'month')}, such as {example}"
    return {"integer": "a whole number", "boolean": "true or false"}.get(type, "a text")


def prefers_comma(unit: str | None, comma_first: bool) -> bool:
    """Whether `1,234` with this unit is a little more than 1, where `comma_first` is so without."""
    return comma_first and (unit or "").upper() not in _POINT_UNITS


def is_date(style: str | None) -> bool:
    """Whether this is a spelling of dates."""
    return style is not None and (
        style in DATES or ("%" in style and style.split(" ")[0] not in NUMBERS)
    )


def parser(style: str) -> Callable[[pa.StringArray], pa.Array]:
    """What reads cells that have no blanks around them; MisfitError if one is none.

    A column that was learnt to hold dates takes those besides that can be read in one way only.

    Parameters
    ----------
    style : str
    """
    if is_date(style) and style not in DATES:
        return lambda cells: _formatted(cells, style)
    if style in DATES:
        styles = (style, *(each for each in _PLAIN_DATES if each != style))
        return lambda cells: dates(cells, *styles)
    base, _, unit = style.partition(" ")
    if base in NUMBERS:
        return lambda cells: _amount(cells, base, unit)
    return {"integer": integer, "boolean": boolean}.get(style, _never)


def fits(cells: pa.StringArray, pattern: str) -> bool:
    """Whether all cells that are there match."""
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(cells, pattern), min_count=0).as_py() is not False)


def check_fits(cells: pa.StringArray, pattern: str) -> None:
    """Raise MisfitError, with the cells that are wrong, where some do not match."""
    import pyarrow.compute as pc

    matched = pc.match_substring_regex(cells, pattern)
    if pc.all(matched, min_count=0).as_py() is False:
        raise MisfitError(pc.invert(matched))


def tidy(cells: pa.StringArray, missing: Collection[str]) -> pa.StringArray:
    """Cells without blanks around them; None for those that say that they are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pc.utf8_trim_whitespace(cells)
    gone = pc.is_in(cells, value_set=pa.array([*missing], pa.string()))
    return pc.if_else(gone, pa.scalar(None, pa.string()), cells)


def _cast(cells: pa.StringArray, to: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(cells, to)
    except pa.ArrowInvalid as error:
        raise MisfitError from error


def integer(cells: pa.StringArray) -> pa.Array:
    """Whole numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    check_fits(cells, r"^[+-]?\d+$")
    return _cast(pc.replace_substring_regex(cells, r"^\+?(-?)0*(\d)", r"\1\2"), pa.int64())


def integer_exactly(cells: pa.StringArray) -> pa.Array:
    """Integers that would be written with the same digits: not 007, +7 or -0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = _cast(cells, pa.int64())
    if pc.all(pc.equal(pc.cast(whole, pa.string()), cells), min_count=0).as_py() is False:
        raise MisfitError
    return whole


def keeps_digits(cells: pa.StringArray) -> None:
    """Raise MisfitError where a float64 would lose digits."""
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(cells, r"^[+-]?(?:0\d|\d{16,}$)")).as_py():
        raise MisfitError


def number(cells: pa.StringArray) -> pa.Array:
    """Numbers with a decimal point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        numbers = _cast(cells, pa.float64())
    except MisfitError:
        check_fits(cells, r"(?i)^(?:[\d.e+-]*|[+-]?(?:inf|infinity|nan))$")
        raise
    infinite = pc.is_inf(numbers)
    if pc.any(infinite).as_py() and not fits(cells.filter(infinite), r"(?i)^[+-]?inf(inity)?$"):
        raise MisfitError  # 1e999
    return numbers


def comma(cells: pa.StringArray) -> pa.Array:
    """Numbers with a decimal comma."""
    import pyarrow.compute as pc

    check_fits(cells, _PATTERNS["comma"])
    plain = pc.replace_substring_regex(cells, f"[.{_GROUPING}]", "")
    return number(pc.replace_substring(plain, ",", "."))


def is_comma(cells: pa.StringArray) -> bool:
    """Whether all cells could have a decimal comma."""
    return fits(cells, _PATTERNS["comma"])


def thousands(cells: pa.StringArray) -> pa.Array:
    """Numbers with a decimal point and marked thousands."""
    import pyarrow.compute as pc

    marked = pc.match_substring_regex(cells, _PATTERNS["thousands"])  # not 1e5
    plain = pc.replace_substring_regex(cells, f"[,{_GROUPING}]", "")
    return number(pc.if_else(marked, plain, cells))


def strict(style: str) -> Callable[[pa.StringArray], pa.Array]:
    """What reads cells of this style and no other, to find out which a column has."""
    if style in DATES:
        return lambda cells: dates(cells, style)
    exact = {"number": number, "comma": comma, "thousands": thousands, "boolean": boolean}
    return exact.get(style) or parser(style)


def _amount(cells: pa.StringArray, base: str, unit: str) -> pa.Array:
    """Numbers as they were learnt; a sum of money may lack its unit."""
    import pyarrow.compute as pc

    read = {"number": number, "comma": comma, "thousands": thousands}[base]
    if unit not in SHARES:
        try:
            return read(cells)
        except MisfitError:
            pass
    cells = bare(cells, unit)
    if base == "number":
        sure = pc.match_substring_regex(cells, _SURELY_THOUSANDS)
        plain = pc.replace_substring_regex(cells, f"[,{_GROUPING}]", "")
        cells = pc.if_else(sure, plain, cells)
    return read(cells)


def unit_of(cells: pa.StringArray) -> str | None:
    """The unit of the first cell that has one, such as "$", "EUR" or "%"."""
    import pyarrow.compute as pc

    found = pc.extract_regex(cells, _WITH_UNIT)
    for name in ("before", "behind"):
        units = pc.struct_field(found, name)
        some = units.filter(pc.fill_null(pc.not_equal(units, ""), False))
        if len(some):
            return str(some[0].as_py())
    return None


def bare(cells: pa.StringArray, unit: str) -> pa.StringArray:
    """Amounts without their unit; `(5)` becomes -5, and so does `5-` where there is a unit.

    Raises
    ------
    MisfitError
        A share has no sign, or a cell has two.
    """
    import pyarrow.compute as pc

    cells = pc.replace_substring(cells, "\u2212", "-")
    sign = "(?i:" + "".join(rf"\x{{{ord(letter):x}}}" for letter in unit) + ")" if unit else ""
    cells = pc.replace_substring_regex(cells, rf"^({sign}{_SPACE})\(([^()]*)\)$", r"(\1\2)")
    cells = pc.replace_substring_regex(cells, r"^\(([^()+\-]*)\)$", r"-\1")
    if not unit:
        return cells
    if unit in SHARES:
        check_fits(cells, rf"{sign}|{ZERO}")
    if pc.any(pc.match_substring_regex(cells, rf"{sign}.*{sign}")).as_py():
        raise MisfitError
    cells = pc.replace_substring_regex(cells, rf"^([+-]?){_SPACE}{sign}{_SPACE}([+-]?)", r"\1\2")
    cells = pc.replace_substring_regex(cells, rf"{_SPACE}{sign}$", "")
    cells = pc.replace_substring_regex(cells, rf"{_SPACE}{sign}-$", "-")
    return pc.replace_substring_regex(cells, r"^(\d.*)-$", r"-\1")


def boolean(cells: pa.StringArray) -> pa.Array:
    """Truth values."""
    import pyarrow as pa

    check_fits(cells, r"^(?:true|false|True|False|TRUE|FALSE)$")
    return _cast(cells, pa.bool_())


def dates(cells: pa.StringArray, *styles: str) -> pa.Array:
    """Dates, each in the first of these styles that it fits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = None
    for style in styles:
        part = _moments(cells, style)
        if styles[0] != "zoned" and style == "zoned":
            part = pc.cast(part, pa.timestamp("us"))  # the clock of UTC
        elif styles[0] == "zoned" and style != "zoned":
            part = pc.cast(pc.cast(part, pa.int64()), pa.timestamp("us", "UTC"))
        found = part if found is None else pc.coalesce(found, part)
        if found.null_count == cells.null_count:
            return found
    raise MisfitError(pc.and_(pc.is_null(found), pc.is_valid(cells)))


def _moments(cells: pa.StringArray, style: str) -> pa.Array:
    """Dates of one style, in microseconds; None for a cell of another. 31.02. is a misfit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.extract_regex(cells, _PATTERNS[style])
    if found.null_count == len(found):  # most columns of texts: nothing to put together
        return pa.nulls(len(found), pa.timestamp("us", "UTC" if style == "zoned" else None))
    groups = {field.name for field in found.type}
    parts = {name: pc.struct_field(found, name) for name in groups}
    month, day, hour = parts["m"], parts["d"], parts["H"]
    if style.startswith("named"):
        names = pc.utf8_slice_codeunits(pc.utf8_lower(month), 0, 3)
        known = pa.array([each[:3] for each in _MONTHS.split("|")])
        number_of = pc.add(pc.index_in(names, value_set=known), 1)
        month = pc.cast(number_of, pa.string())
    half = pc.utf8_lower(parts["p"])
    if pc.any(pc.not_equal(half, ""), min_count=0).as_py():
        hour = _of_24(hour, half)
    texts = pc.binary_join_element_wise(
        pc.binary_join_element_wise(parts["y"], _two(month), _two(day), "-"),
        pc.binary_join_element_wise(_two(hour), _two(parts["M"]), _two(parts["S"]), ":"),
        " ",
    )
    fraction = pc.utf8_rpad(pc.utf8_slice_codeunits(parts["f"], 0, 6), 6, padding="0")
    texts = pc.binary_join_element_wise(texts, fraction, ".")
    if "z" not in parts:
        return _cast(texts, pa.timestamp("us"))
    zone = pc.replace_substring_regex(parts["z"], "^(?:Z|UTC|GMT|)$", "+00:00")
    moments = _cast(pc.binary_join_element_wise(texts, zone, ""), pa.timestamp("us", "UTC"))
    return moments if style == "zoned" else pc.cast(moments, pa.timestamp("us"))


def _two(part: pa.StringArray) -> pa.StringArray:
    import pyarrow.compute as pc

    return pc.utf8_lpad(part, 2, padding="0")


def _of_24(hour: pa.StringArray, half: pa.StringArray) -> pa.StringArray:
    """Hours of a clock of 12, where `half` is "a" or "p"; others as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    halved = pc.not_equal(half, "")
    hours = _cast(pc.if_else(halved, hour, "12"), pa.int64())
    if pc.any(pc.or_(pc.less(hours, 1), pc.greater(hours, 12)), min_count=0).as_py():
        raise MisfitError
    hours = pc.if_else(pc.equal(hours, 12), 0, hours)
    hours = pc.if_else(pc.equal(half, "p"), pc.add(hours, 12), hours)
    return pc.if_else(halved, pc.cast(hours, pa.string()), hour)


def _formatted(cells: pa.StringArray, format: str) -> pa.Array:
    """Dates of a format of ``strptime``; in UTC if it has a zone."""
    import pandas as pd
    import pyarrow as pa

    texts = pd.Series(cells.to_pylist(), dtype=object)
    try:
        moments = pd.to_datetime(texts, format=format, utc=True)
    except (ValueError, TypeError, OverflowError) as error:
        found = pd.to_datetime(texts, format=format, utc=True, errors="coerce")
        raise MisfitError(pa.array(found.isna() & texts.notna())) from error
    if int(moments.isna().sum()) > cells.null_count:
        raise MisfitError
    return pa.Array.from_pandas(moments.dt.tz_localize(None).astype("datetime64[us]")).cast(
        pa.timestamp("us")
    )


def check_format(format: str) -> str:
    """The format of dates, if it is one of ``strptime``'s that names a day.

    Raises
    ------
    ValueError
        It is none.
    """
    known = set(re.findall(r"%[-_^#]?(.)", format))
    wrong = sorted(known - set("aAbBcdfHIjmMpSyYxXzZWwuUGV%"))
    if "%" not in format or wrong or not known & set("yYcxG"):
        what = f"%{wrong[0]} is unknown" if wrong else "it names no year"
        raise ValueError(
            f"{format!r} is no format of dates ({what}); write one as strptime takes it, such as "
            "%d/%m/%Y"
        )
    return format


def _never(cells: pa.StringArray) -> pa.Array:
    raise MisfitError
