"""What a calibration has measured and methods ask for."""

from halfv_core.methods.base import Measured
from halfv_core.profile import Profile


def measured_by(profile: Profile) -> Measured:
    """The measurements that a profile holds: how redundant each layer is, and what its method, if any, measured.

    A calibration saves KL(full || frozen), of which ShortV takes the other direction; the order of layers counts.
    """
    own = profile.method
    return Measured(
        layer_redundancy=profile.curves.kl.mean,
        withdrawal=() if own is None else own.withdrawal,
        removed=() if own is None else own.removed,
        head_weights=() if own is None else own.head_weights,
        visipruner=None if own is None else own.visipruner,
    )
