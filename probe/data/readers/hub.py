"""Reads a data set from the Hugging Face Hub by name; the `datasets` library downloads it and runs none of its code."""

import re

from halfv_core.errors import DataError
from probe.data.readers.arrow import convert_errors, dataset_rows, first_line
from probe.data.readers.base import READERS, Reader, Source, Table
from probe.data.splits import choose_split, left_out


def open_hub(source: Source) -> Table:
    """Rows of a data set on the hub, downloaded by the `datasets` library into its cache.

    Raises:
        DataError: the data set does not exist, cannot be reached, or has no such split or subset.
    """
    from datasets import get_dataset_split_names, load_dataset

    try:
        known = [] if source.split else get_dataset_split_names(source.location, source.subset)
        split = source.split or choose_split(source.location, known, None)
        dataset = load_dataset(source.location, source.subset, split=split)
    except DataError:
        raise
    except Exception as error:  # each library below has its own errors for network, authorisation and missing names
        remedy = "check the name, --subset and --split, and the network, or give a local file"
        raise DataError(f"cannot load data set '{source.location}': {first_line(error)}", remedy=remedy) from None
    rows = convert_errors(source.location, dataset_rows(dataset))
    return Table(rows, None, left_out(split, known))


def _is_hub_name(source: Source) -> bool:
    return not source.path.exists() and re.fullmatch(r"\w[\w.-]*/[\w.-]+", source.location) is not None


READERS.register("hub")(Reader(_is_hub_name, open_hub, parts=("split", "subset")))
