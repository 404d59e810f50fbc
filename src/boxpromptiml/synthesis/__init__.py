"""Tampered images with exact masks, made from authentic photographs."""

from boxpromptiml.synthesis.config import KINDS, SynthesisConfig
from boxpromptiml.synthesis.generator import Synthesizer, Tampered
from boxpromptiml.synthesis.pools import ObjectPool, PhotoPool
from boxpromptiml.synthesis.settings import load_config

__all__ = ["KINDS", "ObjectPool", "PhotoPool", "SynthesisConfig", "Synthesizer", "Tampered", "load_config"]
