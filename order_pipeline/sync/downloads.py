"""Lists as files that people open: CSV that every spreadsheet reads right, and XLSX.

Belongs here: from rows to a file. Not here: what the rows say.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from order_pipeline import configuration
from order_pipeline.sync.windows import SHANGHAI

FOLDER = "downloads"
# Titles and codes come from outside: a spreadsheet would run what begins with these as a formula.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")
WIDEST_COLUMN = 60


def download_path(name: str) -> Path:
    """Return where a file of this name belongs: the folder ``downloads`` under ORDER_PIPELINE_HOME."""
    return configuration.home() / FOLDER / name


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Path:
    """Write rows as CSV. ``columns``: key of the rows to heading. The file is there whole or as it was before.

    Raises ConfigurationError where it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns.values())
    for row in rows:
        writer.writerow([_csv_cell(row[key]) for key in columns])
    # With a mark in front, or Excel takes Chinese text for another encoding.
    return _write(path, text.getvalue().encode("utf-8-sig"))


def write_xlsx(path: Path, sheets: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, str]]]) -> Path:
    """Write sheets, name to (rows, columns), as one XLSX file: headings fixed and filtered, numbers as numbers.

    Raises ConfigurationError where it cannot be written.
    """
    from openpyxl import Workbook
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    book.remove(book.worksheets[0])
    for name, (rows, columns) in sheets.items():
        sheet = book.create_sheet(name[:31])
        sheet.append(list(columns.values()))
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for number, row in enumerate(rows, 2):
            for place, key in enumerate(columns, 1):
                cell = sheet.cell(number, place, _xlsx_cell(row[key]))
                if isinstance(cell.value, str):
                    cell.data_type = "s"
        sheet.freeze_panes = "A2"
        sheet.auto_filter.ref = sheet.dimensions
        for place, (key, heading) in enumerate(columns.items(), 1):
            longest = max([len(heading), *(len(str(row[key] or "")) for row in rows)])
            sheet.column_dimensions[get_column_letter(place)].width = min(longest + 2, WIDEST_COLUMN)
    content = io.BytesIO()
    book.save(content)
    return _write(path, content.getvalue())


def _csv_cell(value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, str) and plain.startswith(FORMULA_BEGINS):
        return f"'{plain}"
    # As long digits they would lose their end to a spreadsheet's numbers; a tab would show, an equals sign runs.
    if isinstance(plain, str) and plain.isdigit() and len(plain) > 15:
        return f"'{plain}"
    return plain


def _xlsx_cell(value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, str):
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        return ILLEGAL_CHARACTERS_RE.sub("", plain)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, Decimal):
        return float(value)
    return value


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise configuration.ConfigurationError(
            f"writing {path} failed: {error.strerror or error}; name another file, or free the place"
        ) from error
    return path
