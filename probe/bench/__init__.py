"""Speed and memory with and without a plan, measured and compared with the analytic cost.

benchmark = bench(model, plan, synthetic_inputs(model, visual_tokens=1200))

What does not belong here: answers and their quality (trials, evaluation).
"""

from probe.bench.inputs import synthetic_inputs
from probe.bench.plans import published_plan
from probe.bench.records import Benchmark
from probe.bench.run import bench
from probe.bench.synthetic import config_of, random_model, sliced

__all__ = ["Benchmark", "bench", "config_of", "published_plan", "random_model", "sliced", "synthetic_inputs"]
