"""The network, a file per section of the paper: encoder, correlation, ranking, decoder, and RANet assembled of them."""

from ranet_edu.model.ranet import RANet, RANetConfig, Trace

__all__ = ["RANet", "RANetConfig", "Trace"]
