"""Files of bars as people have them (CSV, JSON, Parquet, Feather): columns, times and units made out or asked about."""

from cryptoenv.bar_files.reading import QUOTE_VOLUME, ImportReport, file_stem, import_bars, read_bars

__all__ = [
    "QUOTE_VOLUME",
    "ImportReport",
    "file_stem",
    "import_bars",
    "read_bars",
]
