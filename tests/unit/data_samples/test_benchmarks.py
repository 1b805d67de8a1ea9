"""What `make bench` ships: records that the code can read, and the table that says what is in them."""

from data_samples.benchmarks import MARK, PAGE, RECORDS, benchmarks_table, in_short, read_records

SHIPPED = read_records()
MAKEFILE = (PAGE.parent.parent / "Makefile").read_text(encoding="utf-8")


def test_the_table_in_the_document_is_that_of_the_records() -> None:
    assert len(SHIPPED) == 3
    assert PAGE.read_text(encoding="utf-8").split(MARK)[1] == benchmarks_table(SHIPPED)


def test_the_readme_says_what_is_in_the_records() -> None:
    readme = " ".join((PAGE.parent.parent / "README.md").read_text(encoding="utf-8").split())
    for record in SHIPPED:
        assert in_short(record) in readme


def test_every_record_comes_from_a_command_of_the_makefile() -> None:
    for record in SHIPPED:
        model = record.subject.model
        assert (RECORDS / f"{model}.json").is_file()
        command = next(line for line in MAKEFILE.splitlines() if f"--model {model} " in line)
        assert f"--visual-tokens {record.subject.visual_tokens} " in command
        assert f"--output docs/benchmarks/{model}.json" in command
        assert ("--rounds" in command) == ("rounds" in record.arguments)


def test_counted_is_what_arithmetic_says_in_every_record() -> None:
    for record in SHIPPED:
        analytic = record.analytic
        assert (record.full.kv_bytes, record.accelerated.kv_bytes) == (analytic.kv_bytes_full, analytic.kv_bytes)
        assert record.full.executed_flops == analytic.decoder_flops_full
        selection = record.accelerated.executed_flops / analytic.decoder_flops - 1
        assert 0 < selection < 0.05
