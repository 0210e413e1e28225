"""CSV: its encoding and delimiter found, cut into chunks of whole rows, read by Arrow.

Arrow reads a chunk at a time. What it would pass over (a blank line, text after a closing quote,
a quote that is never closed, a header that comes again) is looked for here, so that no row is
lost and every error names its line.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from chainrule.tables.files import TableFile
from chainrule.tables.spellings import MISSING
from chainrule.tables.types import Chunk, Reject, Report, TableError, check_width

CHUNK_BYTES = 1 << 21  # bytes read at a time
LONGEST_ROW = 1 << 24  # bytes; more is taken for a quote that is never closed
_SAMPLE = 1 << 16
_DELIMITERS = (",", ";", "\t", "|")
_SHOWN = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}
_COMMENTS = ("#", "%", "//")
_CELLS = re.compile(r"\"[^\"]*\"|'[^']*'|\S+")  # where blanks stand between them
_GROUPS = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:[.,]\d+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Csv:
    """A CSV file.

    Attributes
    ----------
    names : list of str
        Of the columns; a column without a name is called after its place, `column_1`.
    delimiter, quote, encoding : str
    null_texts : tuple of str
        Cells without quotes that are missing.

    Parameters
    ----------
    file : TableFile
    missing : sequence of str or None, default None
        The texts of cells that are missing; None: those that say so by custom.

    Raises
    ------
    TableError
        It has no header, or one with a name twice, or it is not text.
    """

    def __init__(self, file: TableFile, missing: Sequence[str] | None = None) -> None:
        self.file = file
        self.null_texts = MISSING if missing is None else ("",)  # others, quoted or not, later
        with file.open() as stream:
            head = stream.read(_SAMPLE)
        self.encoding = _encoding(head, file.name)
        self._wide = self.encoding not in ("utf-8", "windows-1252")  # more than one byte a sign
        text = head.decode(self.encoding, "replace").removeprefix("\ufeff")
        if len(_CONTROL.findall(text)) > max(8, len(text) // 20):
            raise TableError(f"{file.name} is not text; a table is needed, such as CSV or Parquet")
        if not text.strip():
            raise TableError(f"{file.name} is empty; a table starts with a line of column names")
        self.quote = '"'
        lines = _lines(text, whole=len(head) < _SAMPLE)
        if '"' not in text and re.match(r"'[^']*'[,;\t|]'", text):
            self.quote = "'"
        self._refuse_comments(lines)
        self.delimiter = self._delimiter(lines)
        self._patterns()
        self._ascii_so_far = True
        self.names = self._header()

    def _delimiter(self, lines: list[str]) -> str:
        """The sign that cuts the most lines into as many cells as the header has."""
        best, found = (False, 0.0, 0), ""
        for delimiter in _DELIMITERS:
            counts = self._counts(lines, delimiter)
            rest = counts[1:] or counts
            if counts and counts[0] > 1:
                share = sum(count == counts[0] for count in rest) / len(rest)
                cut = sum(count > 1 for count in rest) / len(rest)
                score = (self._is_tidy(lines, delimiter), share, counts[0])
                if cut >= 0.5 and score > best:
                    best, found = score, delimiter
                found = found or (delimiter if cut >= 0.5 else "")
        if found:
            return found
        if _parted_by_blanks(lines):
            raise TableError(
                f"{self.file.name}: its columns are separated by spaces, which may stand inside a "
                "text too; part them with commas or tabs, such as with pandas: read_csv(file, "
                r"sep=r'\s+').to_csv(other, index=False)"
            )
        for delimiter in _DELIMITERS:  # one column, or a title above the table?
            counts = self._counts(lines, delimiter)
            rest = counts[1:]
            prose = delimiter == "," and any(", " in line for line in lines[1:])
            if len(rest) > 1 and min(rest) == max(rest) > 1 and not prose:
                raise TableError(
                    f"{self.file.name}, line 1: it has 1 cell but the lines below have {rest[0]}; "
                    "the first line must hold the column names, so delete a title above them"
                )
        return ","

    def _refuse_comments(self, lines: list[str]) -> None:
        """Refuse comments above the header; a header may start with # too."""
        mark = next((mark for mark in _COMMENTS if lines[0].startswith(mark)), None)
        if mark is None:
            return
        above = list(takewhile(lambda line: line.startswith(mark), lines))
        last, rest = above[-1], lines[len(above) :]
        if not rest:
            return
        most = 1
        for delimiter in _DELIMITERS:
            counts = self._counts(rest, delimiter)
            if counts and min(counts) == max(counts) > most:
                most = counts[0]
                is_header = self._counts([last], delimiter) == [most]
        if most == 1:
            is_header = len(above) == 1 and not _parted_by_blanks(rest)
        n = len(above) - is_header
        if n:
            lines_start = "1 line starts" if n == 1 else f"{n:,} lines start"
            raise TableError(
                f"{self.file.name}, line 1: {lines_start} with {mark!r}, like a comment, above the "
                f"column names; delete {'it' if n == 1 else 'them'}"
            )

    def _is_tidy(self, lines: list[str], delimiter: str) -> bool:
        """Whether quotes stand around whole cells only."""
        d, q = re.escape(delimiter), re.escape(self.quote)
        cell = rf"(?:{q}(?:[^{q}]++|{q}{q})*+{q}|[^{q}{d}\r\n]*+)"
        return bool(re.fullmatch(rf"(?:{cell}(?:{d}|\r\n?|\n|\Z))*+(?:{cell})?", "".join(lines)))

    def _counts(self, lines: list[str], delimiter: str) -> list[int]:
        counts = []
        try:
            for row in csv.reader(lines, delimiter=delimiter, quotechar=self.quote):
                if row:
                    counts.append(len(row))
        except csv.Error:
            pass  # a cell too long for it: what it has counted is enough
        return counts

    def _patterns(self) -> None:
        """Regular expressions for whole rows; possessive, so that they take linear time."""
        d, q = re.escape(self.delimiter.encode()), re.escape(self.quote.encode())
        quoted = rb"%b(?:[^%b]++|%b%b)*+" % (q, q, q, q)
        cell = rb"(?:%b%b(?=[%b\r\n])|(?!%b)[^%b\r\n]*+)" % (quoted, q, d, q, d)
        row = rb"%b(?:%b%b)*+(?:\r\n?|\n)" % (cell, d, cell)
        self._row = re.compile(row)
        self._rows = re.compile(rb"(?:%b)*+" % row)
        # A quote closed and followed by something else; a quote not closed at all.
        self._after = re.compile(rb"(?:%b%b)*+%b%b[^%b\r\n%b]" % (cell, d, quoted, q, d, q))
        self._unclosed = re.compile(rb"(?:%b%b)*+%b\Z" % (cell, d, quoted))

    def _header(self) -> list[str]:
        def fail(reject: Reject) -> None:
            raise reject.error()

        for raw, first in self._cut(fail):
            numbered = self._numbered(raw, first)
            line, row = next((each for each in numbered if each[1].strip()), (0, b""))
            if not row:
                continue
            self._start = line + _newlines(row)
            self._header_row = row.rstrip(b"\r\n")
            self._utf8(raw)  # settles the encoding
            text = self._utf8(self._header_row)
            if text is None or b"\x00" in text:
                raise TableError(
                    f"{self.file.name}, line {line}: the column names are not text in "
                    f"{self.encoding}; save the file as UTF-8"
                )
            try:
                read = csv.reader(
                    [text.decode()], delimiter=self.delimiter, quotechar=self.quote, strict=True
                )
                cells = next(read)
            except csv.Error as error:
                raise TableError(
                    f"{self.file.name}, line {line}: the column names cannot be read ({error})"
                ) from error
            return self._checked(cells, line)
        raise TableError(f"{self.file.name} is empty; a table starts with a line of column names")

    def _checked(self, cells: list[str], line: int) -> list[str]:
        check_width(len(cells), self.file.name)
        names = [name.strip() or f"column_{i + 1}" for i, name in enumerate(cells)]
        place: dict[str, int] = {}
        for i, name in enumerate(names):
            if name in place:
                raise TableError(
                    f"{self.file.name}, line {line}: columns {place[name] + 1} and {i + 1} have "
                    f"the same name, {name!r}; rename one"
                )
            place[name] = i
        if _is_data(names):
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise TableError(
                f"{self.file.name}, line {line}: it looks like data ({shown}), not like column "
                "names; add a first line that names the columns"
            )
        return names

    def chunks(self, report: Report, columns: list[str] | None = None) -> Iterator[Chunk]:
        """The rows in order, all cells as text.

        Parameters
        ----------
        report : callable (Reject) -> None
            Told of rows that cannot be read; it may raise.
        columns : list of str or None, default None
            Only these; None: all.
        """
        self._ascii_so_far = True
        blank: list[Reject] = []
        for raw, line in self._cut(report):
            rows = raw
            if line < self._start:  # the header, and what is blank above it
                numbered = self._numbered(raw, line)
                above = takewhile(lambda each: each[0] < self._start, numbered)
                rows = raw[sum(len(row) for _, row in above) :]
            if rows:
                yield self._chunk(rows, max(line, self._start), report, columns, blank)

    def _chunk(
        self, raw: bytes, line: int, report: Report, columns: list[str] | None, blank: list[Reject]
    ) -> Chunk:
        text = self._utf8(raw)
        table, ragged = None, [(0, 0)]
        if text is not None and not self._suspicious(raw):
            table, ragged = self._parse(text, columns)
            if len(table) and not ragged:
                self._flush(blank, report)
        if ragged:
            return self._split_by_row(raw, line, report, columns, blank)
        where: list[tuple[int, bytes]] = []

        def find(i: int) -> tuple[int, str]:
            if not where:
                where.extend(self._numbered(raw, line))
            return where[i][0], self._shown(where[i][1])

        return Chunk(table, find)

    def _split_by_row(
        self, raw: bytes, line: int, report: Report, columns: list[str] | None, blank: list[Reject]
    ) -> Chunk:
        """The same, where some row is wrong."""
        rejects: list[Reject] = []
        kept: list[tuple[int, bytes]] = []
        texts: list[bytes] = []
        for number, row in self._numbered(raw, line):
            bare = row.rstrip(b"\r\n")
            text = self._utf8(row)
            if not bare and len(self.names) > 1:
                blank.append(self._reject(number, "the line is blank; delete it", row))
                continue
            rejects += blank
            blank.clear()
            if text is None:
                what = f"it is not text in {self.encoding}; save the file as UTF-8"
                rejects.append(self._reject(number, what, row))
            elif b"\x00" in text:
                what = "it holds a NUL, which no text has: the file is damaged, or not a table"
                rejects.append(self._reject(number, what, row))
            elif bare == self._header_row and len(self.names) > 1:
                what = "the line of column names comes again; delete it"
                rejects.append(self._reject(number, what, row))
            else:
                kept.append((number, row))
                texts.append(text)
        table, ragged = self._parse(b"".join(texts), columns)
        for place, cells in ragged:
            number, row = kept[place]
            rejects.append(self._reject(number, self._ragged(cells, row), row))
        for reject in sorted(rejects, key=lambda reject: reject.line):
            report(reject)
        wrong = {place for place, _ in ragged}
        kept = [each for i, each in enumerate(kept) if i not in wrong]
        return Chunk(table, lambda i: (kept[i][0], self._shown(kept[i][1])))

    def _ragged(self, cells: int, row: bytes) -> str:
        if row.startswith(b"#"):
            return "it starts with '#', like a comment; delete it"
        others = [d for d in _DELIMITERS if d != self.delimiter]
        other = next((d for d in others if row.count(d.encode()) == len(self.names) - 1 > 0), None)
        if other and cells == 1:
            return (
                f"its cells are separated by a {_SHOWN[other]}, those of the lines before by a "
                f"{_SHOWN[self.delimiter]}; use one of them throughout"
            )
        advice = (
            f'put a cell that contains a {_SHOWN[self.delimiter]} in quotes ("...")'
            if cells > len(self.names)
            else "fill the row up with empty cells, or delete it"
        )
        s = "" if cells == 1 else "s"
        return f"it has {cells} cell{s} where the header has {len(self.names)}; {advice}"

    def _flush(self, blank: list[Reject], report: Report) -> None:
        for reject in blank:
            report(reject)
        blank.clear()

    def _suspicious(self, raw: bytes) -> bool:
        """Whether Arrow might pass over a row of these."""
        if b"\x00" in raw:
            return True
        if len(self.names) == 1:
            return False
        if raw[:1] in b"\r\n" or any(ends in raw for ends in (b"\n\n", b"\n\r", b"\r\r")):
            return True
        return raw.startswith(self._header_row) or b"\n" + self._header_row in raw

    def _parse(self, text: bytes, columns: list[str] | None) -> tuple[Any, list[tuple[int, int]]]:
        """(the table, (place, cells) of rows with too many or too few cells)."""
        import pyarrow as pa
        import pyarrow.csv as arrow_csv

        ragged: list[tuple[int, int]] = []
        names = self.names if columns is None else columns
        if not text:
            return pa.table({name: pa.array([], pa.string()) for name in names}), ragged

        def invalid(row: Any) -> str:
            ragged.append((row.number - 1, row.actual_columns))
            return "skip"

        table = arrow_csv.read_csv(
            pa.BufferReader(text),
            arrow_csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=self.names
            ),
            arrow_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=self.quote,
                newlines_in_values=True,
                ignore_empty_lines=len(self.names) > 1,
                invalid_row_handler=invalid,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=columns,
                null_values=self.null_texts,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        return table, ragged

    def _numbered(self, raw: bytes, line: int) -> Iterator[tuple[int, bytes]]:
        """(its first line, the row) of each row."""
        for match in self._row.finditer(raw):
            yield line, match[0]
            line += _newlines(match[0])

    def _reject(self, line: int, message: str, row: bytes) -> Reject:
        return Reject(self.file.name, line, None, message, self._shown(row))

    def _shown(self, row: bytes) -> str:
        encoding = "utf-8" if self._wide else self.encoding
        return row.rstrip(b"\r\n").decode(encoding, "backslashreplace")

    def _utf8(self, raw: bytes) -> bytes | None:
        """The rows in UTF-8, or None if they cannot be decoded.

        A file that does not say its encoding is UTF-8. If the first signs beyond ASCII do not
        fit that, it is Windows-1252, which has all that Latin-1 can print.
        """
        if raw.isascii():
            return raw
        try:
            if self.encoding == "windows-1252":
                return raw.decode("windows-1252").encode()
            raw.decode()
        except UnicodeDecodeError:
            if not self._ascii_so_far or self.encoding != "utf-8":
                return None
            signs = raw.decode("utf-8", "surrogateescape")
            wrong = len(re.findall("[\udc80-\udcff]", signs))
            if wrong <= len(re.findall("[^\x00-\x7f\udc80-\udcff]", signs)):
                return None
            self.encoding = "windows-1252"
            return self._utf8(raw)
        self._ascii_so_far = False
        return raw

    def _cut(self, report: Report) -> Iterator[tuple[bytes, int]]:
        """(whole rows, the line of the first), in bounded memory; wrong quotes are reported."""
        with self.file.open() as stream:
            read = self._decoded(stream)
            buffer, line, end = b"", 1, False
            while not end:
                size = max(CHUNK_BYTES, len(buffer))
                block = read(size)
                end = not block
                buffer += block
                while buffer.endswith(b"\r") and not end:  # the other half of its line end?
                    block = read(1)
                    end = not block
                    buffer += block
                if end and not buffer.endswith((b"\n", b"\r")):
                    buffer += b"\n" if buffer else b""
                at = 0
                while at < len(buffer):
                    stop = self._whole_rows(buffer, at)
                    if stop > at:
                        yield buffer[at:stop], line
                        line += _newlines(buffer, at, stop)
                        at = stop
                        continue
                    what = self._wrong(buffer, at, end)
                    if what is None:
                        break  # it needs more
                    stop = _line_end(buffer, at)
                    report(self._reject(line, what, buffer[at : min(stop, at + 10_000)]))
                    line += _newlines(buffer, at, stop)
                    at = stop
                buffer = buffer[at:]

    def _whole_rows(self, buffer: bytes, at: int) -> int:
        if buffer.find(self.quote.encode(), at) < 0:
            return max(buffer.rfind(b"\n", at), buffer.rfind(b"\r", at), at - 1) + 1
        match = self._rows.match(buffer, at)
        return match.end() if match else at

    def _wrong(self, buffer: bytes, at: int, end: bool) -> str | None:
        if self._after.match(buffer, at):
            return "text follows a closing quote; double the quotes inside a quoted cell"
        too_long = len(buffer) - at > LONGEST_ROW
        if not end and not too_long:
            return None
        if self._unclosed.match(buffer, at):
            return "a quote is opened but not closed"
        return f"the line is longer than {LONGEST_ROW >> 20} MB; is this a table?"

    def _decoded(self, stream: Any) -> Any:
        """A function that reads bytes of UTF-8 (or of what is cut into rows like it)."""
        if not self._wide:
            skip = stream.read(3)
            rest = b"" if skip == codecs.BOM_UTF8 else skip

            def read(size: int) -> bytes:
                nonlocal rest
                got: bytes = rest + stream.read(size)
                rest = b""
                return got

            return read
        decoder = codecs.getincrementaldecoder(self.encoding)()
        total = 0

        def decode(size: int) -> bytes:
            nonlocal total
            while True:
                got = stream.read(max(size, 4))
                try:
                    text = decoder.decode(got, final=not got).removeprefix("\ufeff")
                except UnicodeDecodeError as error:
                    raise TableError(
                        f"{self.file.name} is not {self.encoding} after {total + error.start:,} "
                        "bytes: it is damaged or cut short; save it as UTF-8"
                    ) from error
                total += len(got)
                if text or not got:
                    return text.encode("utf-8", "surrogatepass")

        return decode


def _encoding(head: bytes, name: str) -> str:
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    nuls = [head[i::2].count(0) / max(len(head[i::2]), 1) for i in (0, 1)]
    if len(head) > 3 and max(nuls) > 0.4 and min(nuls) < 0.05:
        return "utf-16-be" if nuls[0] > nuls[1] else "utf-16-le"
    return "utf-8"


def _lines(text: str, whole: bool) -> list[str]:
    lines = re.findall(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+", text)
    if not whole and len(lines) > 1:
        lines.pop()
    return [line for line in lines if line.strip()][:200]


def _parted_by_blanks(lines: list[str]) -> bool:
    """Whether these are rows of a table whose cells have blanks between them.

    A table of one column may hold texts of two words: more columns need other evidence.
    """
    rows = [_CELLS.findall(line) for line in lines]
    if len(rows) < 2:
        return False
    head, rest = len(rows[0]), rows[1:]
    n = len(rest[0])
    if n < 2 or any(len(row) != n for row in rest) or head not in (n, n - 1 if n > 2 else n):
        return False
    if all(_GROUPS.fullmatch(line.strip()) for line in lines[1:]):
        return False  # 1 234 567
    wide = sum(bool(re.search(r"\S(?: {2,}|\t)\S", line)) for line in lines)
    numeric = sum(all(_is_number(row[i]) for row in rest) for i in range(n))
    return 2 * wide >= len(lines) or (numeric == n if n == 2 else 2 * numeric >= n)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip("\"'").replace(",", "."))
    except ValueError:
        return cell in MISSING
    return True


def _newlines(raw: bytes, start: int = 0, stop: int | None = None) -> int:
    span = (start, len(raw) if stop is None else stop)
    return raw.count(b"\n", *span) + raw.count(b"\r", *span) - raw.count(b"\r\n", *span)


def _line_end(buffer: bytes, at: int) -> int:
    match = re.compile(rb"[^\r\n]*+(?:\r\n?|\n)?").match(buffer, at)
    return match.end() if match else len(buffer)


def _is_data(names: list[str]) -> bool:
    """Whether all are numbers, and not numbers that count columns (0, 1, 2; 2019, 2020)."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    first = numbers[0]
    if len(numbers) == 1:
        return first not in (0, 1)
    return numbers != [first + i for i in range(len(numbers))]
