"""Exchange with other libraries through NIR, the neuromorphic intermediate representation (extra ``nir``)."""

from spk_neurons.nir.network import NIRNetwork
from spk_neurons.nir.read import from_nir
from spk_neurons.nir.write import to_nir

__all__ = ["NIRNetwork", "from_nir", "to_nir"]
