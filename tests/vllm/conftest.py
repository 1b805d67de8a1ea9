"""No test of this folder is collected where vLLM is not installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]
