"""The transition of the point neuron, four times: reference, torch, numba, triton, and the operator around them."""
