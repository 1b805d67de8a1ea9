"""Session: one evaluation of a model, with the loop that measures it sample by sample, resumably."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from pydantic import JsonValue, ValidationError
from transformers import PreTrainedModel

from halfv_core.errors import first_fault
from halfv_core.placement import device_of
from halfv_core.profile import Profile, config_fingerprint
from halfv_core.quantising import numbers_of
from halfv_core.ranks import Ranks
from halfv_core.records import Record
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journal import Journal
from probe.common.journals import opened
from probe.common.progress import OnProgress, counter
from probe.data.prompt_size import prompt_size
from probe.data.samples import Sample, data_fingerprint
from probe.evaluation.conditions import Conditions
from probe.evaluation.grading import Grading

_PACKAGES = ("halfv-probe", "torch", "transformers")

R = TypeVar("R", bound=Record)


class Given(NamedTuple):
    """What the user gave, for the record."""

    model_id: str = ""
    """Name or path of the model; by default, that of its config."""
    profile_id: str = ""
    data: str = ""
    arguments: Mapping[str, JsonValue] = {}


class Session:
    """One evaluation of a model on samples, from its beginning."""

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Sequence[Sample],
        given: Given,
        *,
        grading: Grading,
        max_new_tokens: int,
        seed: int,
    ) -> None:
        self._began = time.monotonic()
        self._device = device_of(model)
        self._samples = samples
        self._given = given
        self._seed = seed
        self._resumed = 0
        self._versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
        self._identity: dict[str, JsonValue] = {
            "model": given.model_id or str(model.config.name_or_path),
            "config": config_fingerprint(model.config),
            "dtype": numbers_of(model),
            "device": str(self._device),
            "data": data_fingerprint(samples),
            "grading": grading,
            "max_new_tokens": max_new_tokens,
            "versions": dict(self._versions),
        }

    def measured(
        self,
        record: type[R],
        measure: Callable[[int, Sequence[Sample], Sequence[R]], R],
        *,
        batch: int = 1,
        identity: Mapping[str, JsonValue],
        journal: Path | None,
        ranks: Ranks,
        on_progress: OnProgress | None,
        data_parallel: DataParallel = ALONE,
    ) -> list[R]:
        """Measure all samples, in batches, but for those that the journal has; in the first process all records.

        Args:
            record: type of what is measured on a batch.
            measure: takes the number of a batch, its samples, and the records of batches before it, which need not be
                all of them.
            batch: how many samples are measured together.
            identity: what the records depend on besides model, samples, grading and versions.
            journal: file in which finished samples are stored, and from which an interrupted run resumes. It is not
                deleted.
            ranks: the processes that run one model together.
            data_parallel: the processes that share the batches; those that are not the first get no records.

        Raises:
            HalfVError: the journal belongs to other work, or other processes were given something else.
        """
        key = self._identity | dict(identity)
        parts = [self._samples[start : start + batch] for start in range(0, len(self._samples), batch)]
        data_parallel.check_same(key, but="device")
        with opened(journal, key, ranks, data_parallel) as stored:
            found = {} if stored is None else _finished(stored, record, len(parts))
            report = on_progress if on_progress and data_parallel.is_first else lambda step, done, total: None
            on_sample = counter(report, "samples", len(self._samples))
            self._resumed = sum(len(parts[number]) for number in found)
            for _ in range(self._resumed):
                on_sample()
            missing = [number for number in range(len(parts)) if number not in found]
            if data_parallel.size > 1:
                missing = data_parallel.tell(sorted(missing, key=lambda at: -sum(map(prompt_size, parts[at]))))
            finished = iter(missing)

            def measure_one(index: int) -> R:
                number = missing[index]
                earlier = [one for before, one in sorted(found.items()) if before < number]
                one = found[number] = measure(number, parts[number], earlier)
                if stored is not None:
                    stored.add({"number": number, "record": one.model_dump(mode="json")})
                return one

            def on_batch() -> None:
                for _ in parts[next(finished)]:
                    on_sample()

            measured = data_parallel.share(
                len(missing), measure_one, on_batch, label=lambda index: f"sample '{parts[missing[index]][0].id}'"
            )
        found |= dict(zip(missing, measured, strict=False))
        return [found[number] for number in range(len(parts))] if data_parallel.is_first else []

    def conditions(self, profile: Profile | None) -> Conditions:
        """The conditions so far.

        Args:
            profile: one that is evaluated.
        """
        return Conditions(
            model_id=str(self._identity["model"]),
            profile=self._given.profile_id,
            data=self._given.data,
            calibrated_on=0 if profile is None else _overlap(profile, self._given.data, self._samples),
            resumed=self._resumed,
            data_fingerprint=str(self._identity["data"]),
            seed=self._seed,
            arguments_given=dict(self._given.arguments),
            versions=self._versions,
            machine=_machine(self._device),
            device=str(self._device),
            dtype=str(self._identity["dtype"]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._began, 1),
        )


def _finished(journal: Journal, record: type[R], batches: int) -> dict[int, R]:
    """The records by the number of their batch."""
    found: dict[int, R] = {}
    for line in journal.records:
        number = line.get("number")
        if not isinstance(number, int) or not 0 <= number < batches:
            raise journal.damaged(f"a record of batch {number}")
        try:
            found[number] = record.model_validate(line.get("record"))
        except ValidationError as error:
            raise journal.damaged(first_fault(error)) from None
    return found


def _overlap(profile: Profile, data: str, samples: Sequence[Sample]) -> int:
    """Number of samples that the profile was calibrated on.

    Many data sets use row numbers as ids, so ids are compared only if the data have the same name.
    """
    if data != profile.provenance.data:
        return 0
    return len({sample.id for sample in samples} & set(profile.provenance.sample_ids))


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
