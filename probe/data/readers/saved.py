"""A folder that the `datasets` library wrote with save_to_disk."""

from halfv_core.errors import DataError
from probe.data.readers.arrow import dataset_rows, first_line, guarded
from probe.data.readers.base import READERS, Reader, Source, Table, choose_split


def open_saved(source: Source) -> Table:
    """Rows of a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Raises:
        DataError: it cannot be read, or has no such split.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(source.place)
    except Exception as error:  # whatever a broken Arrow file leads the library to
        raise DataError(f"cannot read the saved data set {source.place}: {first_line(error)}") from None
    if isinstance(found, DatasetDict):
        found = found[choose_split(source, list(found))]
    elif source.split:
        choose_split(source, [str(found.split or "")])
    return Table(guarded(source.place, dataset_rows(found)), source.path)


def _is_saved(source: Source) -> bool:
    return any((source.path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))


READERS.register("saved")(Reader(_is_saved, open_saved, parts=("split",)))
