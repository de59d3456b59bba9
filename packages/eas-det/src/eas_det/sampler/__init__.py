"""Samplers: micro-counts in, what a network should see out."""

from .arsnn import ARSNNSampler, SamplerOutput, sampling_intervals, to_steps
from .family import CountEmbedding, RSNNEmbedding, SNNEmbedding

__all__ = [
    "ARSNNSampler",
    "CountEmbedding",
    "RSNNEmbedding",
    "SNNEmbedding",
    "SamplerOutput",
    "sampling_intervals",
    "to_steps",
]
