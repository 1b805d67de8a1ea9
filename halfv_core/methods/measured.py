"""What a calibration has measured and methods ask for."""

from halfv_core.methods.base import Measured
from halfv_core.profile import Profile


def measured_by(profile: Profile) -> Measured:
    """The measurements that a profile holds: how redundant each layer is.

    A calibration saves KL(full || frozen), of which ShortV takes the other direction; the order of layers counts. It
    saves no withdrawal of all tokens, no schedule of FitPrune and no weights of heads.
    """
    return Measured(layer_redundancy=profile.curves.kl.mean)
