"""What a network is made of, and what a step of it costs."""

from __future__ import annotations

from xpmlp.mathematics.mlp import MLP


def summarize(mlp: MLP, batch_size: int) -> str:
    """Return a table of the layers with their shapes and parameters, and the FLOP of a step."""
    activations = (*mlp.activation_names, mlp.loss_function.link.name)
    lines = [f"{'layer':<7}{'weight':>14}{'bias':>8}{'parameters':>13}  activation"]
    for layer, (fan_in, fan_out) in enumerate(mlp.weight_shapes, start=1):
        lines.append(
            f"{layer:<7}{f'{fan_in} x {fan_out}':>14}{fan_out:>8}{(fan_in + 1) * fan_out:>13,}"
            f"  {activations[layer - 1]}"
        )
    mega = mlp.step_flop * batch_size / 1e6
    lines.append(
        f"{mlp.parameter_count:,} parameters, {mega:,.1f} MFLOP per step of {batch_size:,} examples"
    )
    return "\n".join(lines)
