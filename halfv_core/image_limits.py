"""Whether an image processor's settings ask for too much of an image; asked before the memory for it is taken.

A processor does what its settings say: sides of a million pixels, or a billion tokens for an image, end in the system
killing the process without a word.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from halfv_core.errors import DataError

MAX_PIXELS = 100_000_000
"""Most pixels that one image may have after resizing."""
MAX_VIDEO_PIXELS = 400_000_000
"""Most pixels that all frames of one video may have after resizing."""
MAX_TOKENS = 1_000_000
"""Most tokens that one image or video may become in the prompt."""

_TOKEN_COUNTS = ("image_seq_length", "image_seq_len", "num_additional_image_tokens")


def check_image_settings(backend: Any, sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse settings under which one of these images would become too large or too many tokens.

    Settings that cannot be understood are left to the processor.

    Args:
        backend: a transformers processor or a `ComposedProcessor`.
        sizes: (width, height) of each image, pixels.

    Raises:
        DataError: more than `MAX_PIXELS` or `MAX_TOKENS`.
    """
    for width, height in dict.fromkeys(sizes):
        pixels, tokens = resized_pixels(backend.image_processor, width, height), visual_tokens(backend, width, height)
        what = f"an image of {width} x {height} px"
        _check(what, pixels, MAX_PIXELS, "pixels")
        _check(what, tokens, MAX_TOKENS, "tokens")


def check_video_settings(backend: Any, size: tuple[int, int], frames: int) -> None:
    """Refuse settings under which a video would become too large or too many tokens.

    Args:
        backend: as above.
        size: (width, height) of its frames, pixels.
        frames: how many there are.

    Raises:
        DataError: more than `MAX_VIDEO_PIXELS` or `MAX_TOKENS`.
    """
    processor = getattr(backend, "videos", None) or getattr(backend, "video_processor", None)
    pixels = resized_pixels(processor, *size) * frames
    tokens = max(_number(getattr(backend, name, None)) for name in _TOKEN_COUNTS) * frames
    what = f"a video of {frames} frames of {size[0]} x {size[1]} px"
    _check(what, pixels, MAX_VIDEO_PIXELS, "pixels")
    _check(what, tokens, MAX_TOKENS, "tokens")


def _check(what: str, found: float, most: int, unit: str) -> None:
    if found > most:
        raise DataError(
            f"the processor's settings make too much of {what}",
            got=f"{found:,.0f} {unit}",
            expected=f"at most {most:,}",
            remedy="lower its sizes in processor_config.json or (video_)preprocessor_config.json",
        )


def resized_pixels(image_processor: Any, width: int, height: int) -> float:
    """About how many pixels the processor resizes an image of this size to, all tiles together; 0 if it cannot be told.

    The settings mean different things: Qwen-VL's edges are limits of the area, other processors' are sides.
    """
    size = _numbers(getattr(image_processor, "size", None))
    aspect = max(width, height) / max(1, min(width, height))
    found = [_area(size, "height", "width")]
    shortest, longest = size.get("shortest_edge", 0.0), size.get("longest_edge", 0.0)
    if hasattr(image_processor, "merge_size"):
        found.append(max(shortest, min(longest or width * height, width * height)))
        found.append(_product(image_processor, "patch_size", "merge_size") ** 2)
    elif shortest:
        found.append(min(shortest**2 * aspect, longest**2 or float("inf")))
    else:
        found.append(longest**2 / aspect)
    for name in () if hasattr(image_processor, "merge_size") else ("crop_size", "pad_size", "max_image_size"):
        setting = _numbers(getattr(image_processor, name, None))
        found += [_area(setting, "height", "width"), setting.get("longest_edge", 0.0) ** 2]
    pinpoints = getattr(image_processor, "image_grid_pinpoints", None)
    for pinpoint in pinpoints if isinstance(pinpoints, list | tuple) else ():
        found.append(_area(dict(enumerate(pinpoint)), 0, 1) if isinstance(pinpoint, list | tuple) else 0.0)
    frames = _number(getattr(image_processor, "temporal_patch_size", None))
    most = max(found) * max(1.0, frames / 2)  # Qwen-VL shows each image as two frames
    for name in ("max_patches", "pan_and_scan_max_num_crops"):
        tiles = _number(getattr(image_processor, name, None))
        on = getattr(image_processor, "crop_to_patches", False) or getattr(image_processor, "do_pan_and_scan", False)
        most *= max(1.0, tiles) if on else 1.0
    return most


def visual_tokens(backend: Any, width: int, height: int) -> float:
    """How many tokens an image of this size becomes in the prompt; 0 if it cannot be told."""
    stated = [_number(getattr(backend, name, None)) for name in _TOKEN_COUNTS]
    image_processor = backend.image_processor
    try:
        if hasattr(backend, "_get_num_multimodal_tokens"):
            (counted,) = backend._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"]
        else:
            patches = image_processor.get_number_of_image_patches(height, width)
            counted = patches / image_processor.merge_size**2
    except Exception:  # noqa: BLE001 - settings that make no sense; the processor says which when it is used
        counted = 0
    return max(*stated, _number(counted))


def _numbers(setting: Any) -> dict[str, float]:
    """The sizes in a setting, which is a number, a mapping, or an object that can become one."""
    if isinstance(setting, int | float):
        return {"height": _number(setting), "width": _number(setting)}
    try:
        return {name: _number(value) for name, value in dict(setting or {}).items()}
    except (TypeError, ValueError):
        return {}


def _area(setting: Mapping[Any, Any], height: object, width: object) -> float:
    return _number(setting.get(height)) * _number(setting.get(width))


def _product(owner: Any, *names: str) -> float:
    result = 1.0
    for name in names:
        result *= _number(getattr(owner, name, None))
    return result


def _number(value: Any) -> float:
    """A number above 0 as a float; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0.0
    try:
        return float(value)
    except OverflowError:
        return float("inf")
