"""Reading a curve from CSV: accepted formats, and a one-line error with file and line number for each fault."""

from pathlib import Path

import pytest

from halfv_core.errors import DataError
from probe.stages.curves_csv import read_curve


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "curve.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "value\n1.5\n2.5\n-3\n",
        "layer,value\n2,-3\n0,1.5\n1,2.5\n",
        "model,layer_index,H1_trunc_raw\nx,0,1.5\nx,1,2.5\nx,2,-3e0\n",
        "\ufeff layer , value \r\n0, 1.5\r\n\r\n1, 2.5\r\n2, -3",
        '"layer","value"\n"1.0","2.5"\n"0.0","1.5"\n"2.0","-3"\n',
        "H1_trunc_raw,value\n9,1.5\n9,2.5\n9,-3\n",
    ],
)
def test_reads_the_curve_by_layer(tmp_path: Path, text: str) -> None:
    assert read_curve(write(tmp_path, text)) == (1.5, 2.5, -3.0)


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("", 1, "no column to read; got an empty file; expected a header row with a column value or H1_trunc_raw"),
        ("1.5\n2.5\n", 1, "no column to read; got columns 1.5;"),
        ("layer,entropy\n0,1\n", 1, "no column to read; got columns layer, entropy; expected"),
        ("value\n", 2, "no rows; expected one for each layer"),
        ("value\n1\nx\n", 3, "value is not a number; got 'x'"),
        ("value\n1\nnan\n", 3, "value is not a number; got 'nan'; expected a finite number"),
        ("value\n1\ninf\n", 3, "value is not a number"),
        ("layer,value\n0,1\n1\n", 3, "value is not a number; got ''"),
        ("layer,value\n0,1\none,2\n", 3, "layer is not a number; got 'one'"),
        ("layer,value\n0,1\n1.5,2\n", 3, "layer is not a layer; got 1.5; expected a whole number"),
        ("layer,value\n0,1\n1,2\n1,2\n", 4, r"wrong layer; got layer 1 again; expected layer 2, so that all of 0\.\.2"),
        ("layer,value\n0,1\n2,2\n", 3, "wrong layer; got layer 2; expected layer 1"),
        ("layer,value\n1,1\n2,2\n", 2, "wrong layer; got layer 1; expected layer 0"),
        ("layer,value\n0,1\n-1,2\n", 3, "wrong layer; got layer -1"),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path: Path, text: str, line: int, fault: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=f"curve {path} line {line}: {fault}") as caught:
        read_curve(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read curve .*none\.csv: No such file"):
        read_curve(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot read curve .*: Is a directory"):
        read_curve(tmp_path)
    with pytest.raises(DataError, match="is not CSV text"):
        read_curve(write(tmp_path, b"value\n\xff\xfe\n"))
