"""The measuring half of halfv-probe: capture, analyzers, stages, calibration.

from probe import calibrate, load_model
"""

from halfv_core.models import load_model
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.saturation import classify_saturation
from probe.analyzers.tme import entropy_curves, truncated_matrix_entropy
from probe.calibration.calibrate import Calibrated, Settings, calibrate, calibrate_in_full
from probe.data.samples import load_samples
from probe.evaluation.ablation import ablate
from probe.stages.detect import detect_stages

__all__ = [
    "Calibrated",
    "Settings",
    "ablate",
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
