"""Trained networks to and from the files of other libraries; each needs an extra."""

from xpmlp.interchange.onnx_file import save_onnx as save_onnx
from xpmlp.interchange.safetensors_file import (
    load_safetensors as load_safetensors,
    save_safetensors as save_safetensors,
)
