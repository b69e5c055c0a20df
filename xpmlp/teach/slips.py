"""What goes wrong when somebody writes backpropagation: a name, a sentence, the formula, where."""

from __future__ import annotations

from typing import NamedTuple

# Sections of docs/backpropagation.md and docs/teaching.md.
_SHAPES = "backpropagation.md#all-at-once-with-every-shape"
_BELOW = "backpropagation.md#from-one-layer-to-the-one-below"
_SHORT = "backpropagation.md#the-short-way-delta--a---y"
_LONG = "backpropagation.md#the-loss-and-its-derivative-the-long-way"
_ORDER = "backpropagation.md#what-is-shared-and-the-order-that-shares-it"
_MOMENTUM = "backpropagation.md#momentum-in-two-forms"
_DATA = "teaching.md#before-the-network"
_START = "teaching.md#the-first-weights"
_NUMBERS = "teaching.md#numbers-that-are-none"
_STEP = "teaching.md#the-step"

_LOSSES = (
    "C = −Σ_i y_i ln a_i of a softmax; −Σ_i (y_i ln a_i + (1 − y_i) ln(1 − a_i)) of sigmoids; "
    "Σ_i (a_i − y_i)² of values"
)


class Slip(NamedTuple):
    """`says` what is likely wrong, `formula` what is right, `section` where that is derived."""

    says: str
    formula: str
    section: str


SLIPS: dict[str, Slip] = {
    # forward
    "bias_not_added": Slip("the bias of {place} is not added", "z = h W + b", _SHAPES),
    "activation_missing": Slip("the activation of {place} is not applied", "h = f(z)", _SHAPES),
    "activation_on_outputs": Slip(
        "the hidden layers' activation is applied to the output layer, too",
        "outputs = h W + b, and then the softmax alone",
        _SHAPES,
    ),
    "other_activation": Slip(
        "the hidden layers compute {detail} and not the activation that was said",
        "h = f(z)",
        _SHAPES,
    ),
    "softmax_over_examples": Slip(
        "the softmax adds up over the examples and not over the classes of each",
        "a_ni = e^{z_ni} / Σ_j e^{z_nj}",
        _LONG,
    ),
    "softmax_overflows": Slip(
        "the softmax of large inputs is NaN: e^1000 is no number",
        "a_i = e^{z_i − max z} / Σ_j e^{z_j − max z}",
        _NUMBERS,
    ),
    # loss
    "log_of_zero": Slip(
        "the loss of a probability that is 0 is infinite or NaN",
        "ln Σ_j e^{z_j − max z} − (z_i − max z), or a probability held above 0",
        _NUMBERS,
    ),
    "loss_sign": Slip("the loss has the wrong sign", _LOSSES, _LONG),
    "other_loss": Slip("the loss is {detail}; that is not the one that was said", _LOSSES, _LONG),
    # gradients
    "gradient_of_another_loss": Slip(
        "loss and gradient are of different losses: the gradient is that of {detail}",
        "δ = a − y belongs to softmax and cross-entropy together",
        _SHORT,
    ),
    "sign": Slip("the gradient has the wrong sign: δ is a − y, and not y − a", "δ = a − y", _SHORT),
    "softmax_derivative_twice": Slip(
        "the softmax's derivative is applied to δ = a − y, which has it already",
        "δ = a − y is ∂C/∂z: past the softmax",
        _SHORT,
    ),
    "product_transposed": Slip(
        "the product for the weights of {place} is transposed",
        "∂C/∂W = hᵀ δ (fan_in, fan_out)",
        _SHAPES,
    ),
    "not_divided": Slip(
        "the gradient of {place} is not divided by the number of examples",
        "∂C/∂W = hᵀ δ / N, as the loss is a mean",
        _SHAPES,
    ),
    "divided_twice": Slip(
        "the gradient of {place} is divided by the number of examples twice",
        "∂C/∂W = hᵀ δ / N: once, in δ or in the product",
        _SHAPES,
    ),
    "bias_not_summed": Slip(
        "the bias gradient is of one example, and not summed over all ({place})",
        "∂C/∂b = Σ_n δ_n",
        _SHAPES,
    ),
    "bias_summed_over_units": Slip(
        "the bias gradient is one number for the whole layer: it is summed over the units, too",
        "∂C/∂b_k = Σ_n δ_nk: over the examples alone",
        _SHAPES,
    ),
    "all_labels_taken": Slip(
        "δ of the output layer has a 1 taken off at the columns of all labels, `a[:, y] -= 1`, and "
        "not at each example's own, `a[np.arange(N), y] -= 1`",
        "δ = a − y",
        _SHORT,
    ),
    "gradient_zero": Slip("the gradient of {place} is 0", "∂C/∂W = hᵀ δ, ∂C/∂b = Σ_n δ_n", _SHAPES),
    "one_example": Slip(
        "the gradient is that of the {detail} example alone, and not the sum over all",
        "∂C/∂W = Σ_n h_n δ_nᵀ: += and not =, and begun with 0 once",
        _SHAPES,
    ),
    "other_derivative": Slip(
        "the derivative in {place} is {detail}, which is another function's",
        "σ′ = a (1 − a), tanh′ = 1 − a², ReLU′ = 1 where z > 0",
        _BELOW,
    ),
    "derivative_forgotten": Slip(
        "δ of {place} is not multiplied by the activation's derivative",
        "δ ← (δ Wᵀ) ⊙ f′(z)",
        _BELOW,
    ),
    "derivative_of_output_at_z": Slip(
        "the derivative in {place} is written for a = f(z) and is given z",
        "σ′ = a (1 − a), tanh′ = 1 − a², with a = f(z)",
        _BELOW,
    ),
    "derivative_of_z_at_output": Slip(
        "the derivative in {place} is written for z and is given a = f(z)",
        "σ′ = σ(z) (1 − σ(z)): of z, or of a alone",
        _BELOW,
    ),
    "derivative_of_error": Slip(
        "the derivative in {place} is taken at δ and not at z", "δ ← (δ Wᵀ) ⊙ f′(z)", _BELOW
    ),
    "output_derivative": Slip(
        "δ of the output layer is multiplied by a (1 − a), the derivative of a sigmoid with a "
        "squared error",
        "δ = a − y for softmax and cross-entropy",
        _SHORT,
    ),
    "wrong_row_left_out": Slip(
        "δ goes down through the weights without one of their rows and with the bias's: at "
        "{place} the wrong row is left out",
        "δ ← (δ Wᵀ) ⊙ f′(z), with the rows of W that are not the bias",
        _BELOW,
    ),
    "other_order": Slip(
        "the gradients are the right numbers in another order than the parameters",
        "one order for both",
        _SHAPES,
    ),
    "weights_not_transposed": Slip(
        "δ goes down through W and not through Wᵀ at {place}", "δ ← (δ Wᵀ) ⊙ f′(z)", _BELOW
    ),
    "input_of_another_layer": Slip(
        "the weights' gradient of {place} is made with the layer's output, and not its input",
        "∂C/∂W_l = h_{l−1}ᵀ δ_l",
        _BELOW,
    ),
    "updated_too_early": Slip(
        "the weights of {place} are changed before δ has gone down through them",
        "first all gradients, then all updates",
        _ORDER,
    ),
    # update
    "uphill": Slip("the update goes up the gradient", "w ← w − α g", _STEP),
    "nothing_changes": Slip(
        "the update changes nothing: `w = w − ...` gives a name to a new array, and `w −= ...` or "
        "returning it is meant",
        "w ← w − α g",
        _STEP,
    ),
    "rate_not_used": Slip(
        "the update is the gradient, without the learning rate", "w ← w − α g", _STEP
    ),
    "part_not_updated": Slip("the update leaves {place} as they are", "w ← w − α g for all", _STEP),
    "rate_twice": Slip(
        "the learning rate is multiplied in twice: the step is −α² g", "w ← w − α g", _STEP
    ),
    "momentum_sign": Slip(
        "the momentum works against the step: its sign is wrong",
        "v ← γ v + g, w ← w − α v",
        _MOMENTUM,
    ),
    "momentum_not_kept": Slip(
        "the velocity of one step is not there in the next", "v ← γ v + g, w ← w − α v", _MOMENTUM
    ),
    "truncated": Slip(
        "{place} holds {detail}: small steps are cut off", "float32 or float64 for all", _NUMBERS
    ),
    "view_not_copy": Slip(
        "{place} changes {detail}: it works on a view where a copy is meant",
        "a.copy(), or a new array",
        _NUMBERS,
    ),
    # data
    "not_shuffled": Slip(
        "the batches come in the same order in every epoch", "a new order for each epoch", _DATA
    ),
    "labels_shifted": Slip(
        "features and labels are not shuffled alike: a row has another row's label",
        "one order for both: x[order], y[order]",
        _DATA,
    ),
    "examples_lost": Slip(
        "an epoch has {detail} of the examples", "each example once per epoch", _DATA
    ),
    "not_scaled": Slip(
        "the features are not scaled: they go from {detail}",
        "(x − mean) / deviation, or x / 255",
        _DATA,
    ),
    "scaled_by_test_set": Slip(
        "the test set is scaled by numbers of its own", "both by the training set's", _DATA
    ),
    "rows_repeated": Slip(
        "{detail} come again in the same epoch", "each example once; a last batch is smaller", _DATA
    ),
    "not_by_column": Slip(
        "a column of the training set comes out as none that is shifted and scaled",
        "x_j ← (x_j − m_j) / s_j, one m and s for each column",
        _DATA,
    ),
    "one_hot_other": Slip(
        "one_hot returns other rows: {detail}", "row of class c: 1 at place c, from 0", _DATA
    ),
    "one_hot_shifted": Slip(
        "the one of a class's row is one place off", "row of class c: 1 at place c, from 0", _DATA
    ),
    # start
    "all_equal": Slip(
        "all weights of {place} are equal: its units stay the same for ever",
        "drawn at random, of deviation near √(1 / fan_in)",
        _START,
    ),
    "start_too_large": Slip(
        "the first weights of {place} are too large: {detail}",
        "a deviation near √(1 / fan_in), or √(2 / fan_in) before ReLU",
        _START,
    ),
    "dead_from_the_start": Slip(
        "{detail} of the units of {place} give the same for every example",
        "weights of deviation near √(1 / fan_in), scaled features",
        _START,
    ),
    "rate_too_large": Slip(
        "the learning rate {detail} is too large: the loss grows, and at a hundredth it falls",
        "try a hundredth, and then three times as much while it helps",
        _STEP,
    ),
    # none of them
    "unknown": Slip(
        "{detail}",
        "compare one entry with (C(w + ε) − C(w − ε)) / 2ε by hand",
        "backpropagation.md#trust-but-check",
    ),
    "not_written": Slip(
        "{place} is still to be written", "what its docstring says that it returns", _STEP
    ),
    "raises": Slip("{place} raises {detail}", "read the last line of its traceback", _STEP),
}
