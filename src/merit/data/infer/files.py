"""Detects the kind of a file by its content: Parquet, text, or an unsupported kind with advice."""

import zipfile
from collections import Counter
from pathlib import Path

from merit.errors import MeritError
from merit.reading.textfile import TextFile

PARQUET_MAGIC = b"PAR1"
IMAGE_MAGICS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"})
"""File name suffixes of images."""
PARQUET_ADVICE = "make Parquet of it: python -c \"import polars; polars.{read}('FILE').write_parquet('FILE.parquet')\""
UNSUPPORTED_KINDS = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"%PDF": "a PDF, which holds no table that can be read",
    b"ARROW1": f"an Arrow file; {PARQUET_ADVICE.format(read='read_ipc')}",
    b"\x89HDF": "an HDF5 file; write its table as Parquet",
    b"ORC": "an ORC file; write its table as Parquet",
    b"Obj\x01": f"an Avro file; {PARQUET_ADVICE.format(read='read_avro')}",
    b"\x93NUMPY": "an array of NumPy; write a table with named columns, as Parquet",
    b"$FL2": "an SPSS file; write its table as Parquet",
    b"<stata_dta>": "a Stata file; write its table as Parquet",
    b"\x80\x04\x95": "a pickle, which can run code and is not opened; write its table as Parquet",
    b"\x80\x05\x95": "a pickle, which can run code and is not opened; write its table as Parquet",
}
"""Leading bytes of unsupported file kinds, with advice."""
IMAGE_ADVICE = (
    "merit reads tables: write a Parquet file with a row per image, its pixels as an array column of one size and its "
    "label as another (docs/how-to/infer.md, Images)"
)


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet; False means text.

    Raises:
        MeritError: it is empty or neither; the line names its kind and gives advice.
    """
    with path.open("rb") as handle:
        head = handle.read(16)
    if head.startswith(PARQUET_MAGIC):
        return True
    if not head:
        raise MeritError(f"{path}: is empty; it needs a line of column names, and rows")
    if (description := _describe_other_kind(path, head)) is not None:
        raise MeritError(f"{path}: is {description}")
    return False


def _describe_other_kind(path: Path, head: bytes) -> str | None:
    """Return the kind of an unsupported file with advice; None for text."""
    if head.startswith(b"SQLite format 3\0"):
        return f"a SQLite database; give sqlite:///{path} with --table or --query"
    if head.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    if kind := next((kind for magic, kind in IMAGE_MAGICS.items() if head.startswith(magic)), None):
        return f"an image ({kind}); {IMAGE_ADVICE}"
    description = next((words for mark, words in UNSUPPORTED_KINDS.items() if head.startswith(mark)), None)
    return _describe_markup(path) if description is None else description


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a ZIP archive that is broken; fetch it again"
    if "xl/workbook.xml" in names:
        return "an Excel workbook; save the sheet as CSV (UTF-8), which is read as it is"
    if "content.xml" in names:
        return "an OpenDocument sheet; save it as CSV (UTF-8), which is read as it is"
    content_text = f", with '{names[0]}' in it" if len(names) == 1 else f" of {len(names)} files"
    return f"a ZIP archive{content_text}; unpack it, or compress the table by gzip, which is read as it is"


def _describe_markup(path: Path) -> str | None:
    """Return the kind of a text file in a markup format (XML, HTML, JSON) with advice; None for lines of fields."""
    with TextFile(str(path)).open_decompressed() as handle:
        text = handle.read(4096).decode("utf-8-sig", "ignore").lstrip()
    if text.startswith(("<?xml", "<!DOCTYPE", "<html", "<!doctype", "<table")):
        return "XML or HTML; write its table as CSV or Parquet"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    is_object = text.startswith("{") and '"' in text[:200] and ":" in text[:500]
    is_list = text.startswith("[") and text[1:].lstrip()[:1] in {"{", "["}
    if not (is_object or is_list):
        return None
    is_lines = is_object and lines[0].endswith("}")
    reader = "read_ndjson" if is_lines else "read_json"
    return f"JSON{', an object a line' if is_lines else ''}; {PARQUET_ADVICE.format(read=reader)}"


def refuse_folder(folder: Path) -> None:
    """Refuse a folder, with advice for its contents.

    Raises:
        MeritError: always.
    """
    counts = Counter(path.suffix.lower() for path in folder.rglob("*") if path.is_file())
    images = sum(count for suffix, count in counts.items() if suffix in IMAGE_SUFFIXES)
    if images > sum(counts.values()) / 2:
        raise MeritError(f"{folder}: is a folder of {images:,} images; {IMAGE_ADVICE}")
    kinds_text = ", ".join(f"{count:,} {suffix or 'others'}" for suffix, count in counts.most_common(3)) or "nothing"
    raise MeritError(
        f"{folder}: is a folder ({kinds_text}), and merit reads one table: name a CSV or Parquet file in it, or join "
        "several "
        "into one (python -c \"import polars; polars.read_parquet('FOLDER/*.parquet').write_parquet('all.parquet')\")"
    )
