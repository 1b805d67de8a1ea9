"""Reads a folder that the `datasets` library wrote with save_to_disk."""

from halfv_core.errors import DataError
from probe.data.readers.arrow import convert_errors, dataset_rows, first_line
from probe.data.readers.base import READERS, Reader, Source, Table
from probe.data.splits import choose_split, left_out


def open_saved(source: Source) -> Table:
    """Rows of a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Raises:
        DataError: the folder cannot be read, or has no such split.
    """
    from datasets import DatasetDict, load_from_disk

    note = None
    try:
        dataset = load_from_disk(source.location)
    except Exception as error:  # a broken Arrow file can make the library raise anything
        raise DataError(f"cannot read the saved data set {source.location}: {first_line(error)}") from None
    if isinstance(dataset, DatasetDict):
        known = list(dataset)
        split = choose_split(source.location, known, source.split)
        dataset, note = dataset[split], None if source.split else left_out(split, known)
    elif source.split:
        choose_split(source.location, [str(dataset.split or "")], source.split)
    return Table(convert_errors(source.location, dataset_rows(dataset)), source.path, note)


def _is_saved(source: Source) -> bool:
    return any((source.path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))


READERS.register("saved")(Reader(_is_saved, open_saved, parts=("split",)))
