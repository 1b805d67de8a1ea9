"""A plugin of vLLM that runs a profile's plan inside its decoder: `HALFV_PROFILE=profile.json vllm serve ...`.

settings.py   which profile was asked for, and which engines and plans are refused
plugin.py     the entry point, and all that is patched in vLLM
requests.py   the requests of one step: which tokens of theirs go through a layer, and where the KV cache has them
blocks.py     how many blocks of the KV cache a request has in which layers
steps.py      these requests, read off a worker
attention.py  vLLM's attention for these tokens
parts.py      vLLM's layers as `halfv_core.runtime.choosing` needs them
decoder.py    one step through the decoder under the plan
"""
