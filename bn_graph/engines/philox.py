"""Dropout's masks of many steps at once, in ops that XLA fuses into one and vectorises.

They are made of the numbers that TensorFlow's own op draws, bit for bit: `tf1.uniform_at` says how those depend on the
seeds and the run. TensorFlow's kernel draws them one after another, which takes a tenth of a small network's step.

Source of the generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011 (Philox4x32-10).
"""

from bn_graph.tf1 import tf, uniform_counter

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_INCREMENTS = 0x9E3779B9, 0xBB67AE85


def philox(counter, key):
    """Random bits: four uint32 tensors. counter: four uint32 tensors of one shape. key: two integers below 2**32."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        (low0, high0), (low2, high2) = _product(x0, MULTIPLIERS[0]), _product(x2, MULTIPLIERS[1])
        x0, x1, x2, x3 = high2 ^ x1 ^ _uint32(k0), low2, high0 ^ x3 ^ _uint32(k1), low0
        k0, k1 = (k0 + KEY_INCREMENTS[0]) % 2**32, (k1 + KEY_INCREMENTS[1]) % 2**32
    return x0, x1, x2, x3


def masks_at(op, runs, keeps):
    """What `keeps` makes of the numbers that the RandomUniform `op` draws in these runs of a session: the same bits.

    op: as in `tf1.uniform_at`, float32. runs: int64 [runs]. keeps: function of a float32 tensor to a bool one of its
    shape. Returns bool [runs, *shape of op's output].
    """
    shape = op.outputs[0].shape
    size = shape.num_elements()
    groups = -(-size // 4)  # of four numbers, which one counter gives
    seed, seed2 = (op.get_attr(name) % 2**64 for name in ("seed", "seed2"))
    lower = tf.cast(uniform_counter(op, runs)[:, None] + tf.range(groups, dtype=tf.int64), tf.uint64)
    zeros = tf.zeros_like(lower, tf.uint32)
    counter = [*_halves(lower), zeros + _uint32(seed2 % 2**32), zeros + _uint32(seed2 // 2**32)]
    bits_of_four = philox(counter, (seed % 2**32, seed // 2**32))
    # One number with a mask in each of its bytes. Four arrays that are woven together would be computed four times.
    packed = sum(
        tf.cast(keeps(_uniform(bits)), tf.uint32) * _uint32(2 ** (8 * place)) for place, bits in enumerate(bits_of_four)
    )
    masks = tf.reshape(tf.bitcast(packed, tf.uint8), [-1, 4 * groups])[:, :size]
    return tf.reshape(tf.cast(masks, tf.bool), [-1, *shape])


def _uniform(bits):
    """Float32 in [0, 1): the lower 23 bits are the fraction, as in TensorFlow's `Uint32ToFloat`."""
    return tf.cast(bits & _uint32(2**23 - 1), tf.float32) * 2.0**-23


def _product(factor, multiplier):
    """The lower and the upper half of a product of uint32."""
    return _halves(tf.cast(factor, tf.uint64) * tf.constant(multiplier, tf.uint64))


def _halves(values):
    return tf.cast(values, tf.uint32), tf.cast(tf.bitwise.right_shift(values, tf.constant(32, tf.uint64)), tf.uint32)


def _uint32(value):
    return tf.constant(value, tf.uint32)
