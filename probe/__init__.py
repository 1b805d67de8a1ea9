"""The measuring half of halfv-probe: capture, analyzers, stages, calibration.

from probe import calibrate, load_model
"""

from typing import TYPE_CHECKING

from halfv_core.lazy import lazy_names

if TYPE_CHECKING:
    from halfv_core.models import load_model
    from probe.analysis.analyze import analyze
    from probe.analysis.records import Analysis
    from probe.analyzers.layer_redundancy import layer_redundancy
    from probe.analyzers.saturation import classify_saturation
    from probe.analyzers.tme import entropy_curves, truncated_matrix_entropy
    from probe.calibration.calibrate import Calibrated, calibrate, calibrate_in_full
    from probe.calibration.settings import Settings
    from probe.data.samples import load_samples
    from probe.evaluation.ablation import ablate
    from probe.stages.detect import detect_stages
    from probe.trials.proofs import admit
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Analysis": "probe.analysis.records",
            "Calibrated": "probe.calibration.calibrate",
            "Settings": "probe.calibration.settings",
            "ablate": "probe.evaluation.ablation",
            "admit": "probe.trials.proofs",
            "analyze": "probe.analysis.analyze",
            "calibrate": "probe.calibration.calibrate",
            "calibrate_in_full": "probe.calibration.calibrate",
            "classify_saturation": "probe.analyzers.saturation",
            "detect_stages": "probe.stages.detect",
            "entropy_curves": "probe.analyzers.tme",
            "layer_redundancy": "probe.analyzers.layer_redundancy",
            "load_model": "halfv_core.models",
            "load_samples": "probe.data.samples",
            "truncated_matrix_entropy": "probe.analyzers.tme",
        },
    )

__all__ = [
    "Analysis",
    "Calibrated",
    "Settings",
    "ablate",
    "admit",
    "analyze",
    "calibrate",
    "calibrate_in_full",
    "classify_saturation",
    "detect_stages",
    "entropy_curves",
    "layer_redundancy",
    "load_model",
    "load_samples",
    "truncated_matrix_entropy",
]
