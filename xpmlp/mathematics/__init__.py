"""The mathematics of a multi-layer perceptron, to be read in an evening, in this order.

1. `activations`, `losses`: formulas and their derivatives.
2. `mlp`: the forward pass, and the backward pass that it hands back.
3. `products`: the two products that carry all the arithmetic.
4. `penalties`, `optimizers`, `step`: from gradients to the next parameters.
5. `initializers`, `dropout`, `schedules`: what else a training needs.

Functions take the namespace `xp` of the array library and use nothing but the Array API standard.
"""
