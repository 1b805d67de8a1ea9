"""The plugin for vLLM in real engines, each in a process of its own, against `apply()` on the same checkpoint.

Skipped where vLLM is not installed; `make test-vllm` makes an environment for it.
"""
