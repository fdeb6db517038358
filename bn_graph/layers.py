"""The tutorial's layer: X * weights + biases, batch normalisation, ReLU, and dropout where it is a hidden layer."""

from bn_graph.tf1 import tf, tf_slim


def initialize(
    scope: str, shape: list, wt_initializer, center: bool = True, scale: bool = True, batch_norm: bool = True
) -> None:
    """Creates the variables of one layer in variable scope `scope`, for every tower to share.

    As the tutorial has it: `weights` [inputs, units], `biases` [units] (1.0), `beta` (0.0) if `center`, `gamma` (1.0)
    if `scale`, and the untrainable `moving_mean` (0.0) and `moving_variance` (1.0), in this order, all float32.

    Args:
        scope: name of the variable scope. Raises ValueError where its variables exist already.
        shape: [inputs, units].
        wt_initializer: initializer of the weights.
        center, scale: whether to create beta and gamma.
        batch_norm: whether the layer has batch normalisation. If not, only weights and biases are created.
    """
    with tf.variable_scope(scope, reuse=None) as sp:
        tf.get_variable("weights", shape, initializer=wt_initializer)
        tf.get_variable("biases", shape[-1], initializer=tf.constant_initializer(1.0))
        if batch_norm:
            if center:
                tf.get_variable("beta", shape[-1], initializer=tf.constant_initializer(0.0))
            if scale:
                tf.get_variable("gamma", shape[-1], initializer=tf.constant_initializer(1.0))
            tf.get_variable("moving_mean", shape[-1], initializer=tf.constant_initializer(0.0), trainable=False)
            tf.get_variable("moving_variance", shape[-1], initializer=tf.constant_initializer(1.0), trainable=False)
    sp.reuse_variables()


@tf_slim.add_arg_scope
def batch_norm(
    inputs,
    decay=0.999,
    center=True,
    scale=False,
    epsilon=0.001,
    activation_fn=None,
    param_initializers=None,
    updates_collections=tf.GraphKeys.UPDATE_OPS,
    is_training=True,
    reuse=None,
    variables_collections=None,
    outputs_collections=None,
    trainable=True,
    batch_weights=None,
    fused=False,
    data_format="NHWC",
    scope=None,
):
    """Batch normalisation, called as `tf.contrib.layers.batch_norm` of TF 0.12 was.

    Where it trains, the activations are normalised by the mean and variance of their batch, and an update op moves
    `moving_mean` and `moving_variance` towards these: moving -= (1 - decay) * (moving - batch). Where it does not, they
    are normalised by the moving ones.

    Somebody must run the update ops. By default they are only collected, and nothing complains if they never run:

        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = optimizer.minimize(loss)

    Caveats. A bias added just before is subtracted again with the mean: it does nothing in training. With
    `fused=False` the moving variance averages the biased variance (divided by n); with `fused=True` the
    Bessel-corrected one (divided by n - 1). TF 0.12 did so too, so do not mix the two over one variable. A switched-off
    beta or gamma of a fused layer does not exist here; TF 0.12 kept it as a variable that nothing trained.

    Args:
        inputs: float tensor, float32 where `fused`, [rows, channels] or [rows, height, width, channels] (NHWC) or
            [rows, channels, height, width] (NCHW). The size of the channels must be known.
        decay: what the moving averages keep of themselves at an update, 0 to 1.
        center, scale: whether to add the variable `beta`, and to multiply by the variable `gamma`. (The tutorial's
            table calls these two parameters by the variables' names. Neither acts on the moving averages.)
        epsilon: added to the variance before its root is taken.
        activation_fn: applied to the result; None for no activation.
        param_initializers: dict of initializers for beta, gamma, moving_mean and moving_variance.
        updates_collections: a collection, or a list of them, that the update ops are put into; None to run them in
            place, before the normalised activations are given out.
        is_training: bool, or a boolean tensor or variable.
        reuse: whether the variables exist already, in `scope`.
        variables_collections, outputs_collections: lists of collections where else to put variables and result.
        trainable: whether beta and gamma are put into TRAINABLE_VARIABLES.
        batch_weights: float tensor [rows]: how much each row counts in the batch's mean and variance.
        fused: whether to use the fused kernel, for inputs of rank 2 or 4 without batch_weights.
        data_format: NHWC or NCHW.
        scope: name or object of the variable scope.

    Returns:
        A tensor like `inputs`.

    Raises:
        ValueError: if `fused` and `batch_weights` are given, if the rank or the number of channels is unknown, if
            `fused` and the rank is neither 2 nor 4, or if `data_format` is unknown.

    Source: TF 0.12's tensorflow/contrib/layers/python/layers/layers.py, for the parameters, their order, their
    defaults and their meaning. tf-slim does the arithmetic.
    """
    inputs = tf.convert_to_tensor(inputs)
    if fused and batch_weights is not None:
        raise ValueError("batch_norm: batch_weights are not supported where fused=True")
    if fused and inputs.shape.rank not in (2, 4):
        raise ValueError(f"batch_norm: fused=True takes inputs of rank 2 or 4, found {inputs.shape}")
    if updates_collections == tf.GraphKeys.UPDATE_OPS:
        # In a list, because tf-slim hands the plain name over to a Keras layer. A list keeps its own arithmetic.
        updates_collections = [updates_collections]
    return tf_slim.batch_norm(
        inputs,
        decay=decay,
        center=center,
        scale=scale,
        epsilon=epsilon,
        activation_fn=activation_fn,
        param_initializers=param_initializers,
        updates_collections=updates_collections,
        is_training=is_training,
        reuse=reuse,
        variables_collections=variables_collections,
        outputs_collections=outputs_collections,
        trainable=trainable,
        batch_weights=batch_weights,
        fused=bool(fused),  # None is no in TF 0.12, yes in tf-slim
        data_format=data_format,
        scope=scope,
        # TF 0.12 does not know these. Said here, no arg_scope of tf_slim.batch_norm can set them.
        param_regularizers=None,
        zero_debias_moving_mean=False,
        renorm=False,
        adjustment=None,
    )
