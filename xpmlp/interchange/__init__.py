"""Trained networks to and from the files of other libraries; each needs an extra."""

from xpmlp.interchange.onnx_file import save_onnx
from xpmlp.interchange.safetensors_file import load_safetensors, save_safetensors

__all__ = ["load_safetensors", "save_onnx", "save_safetensors"]
