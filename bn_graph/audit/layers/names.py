"""What people and libraries call moving statistics, and which layer a variable's name says that it belongs to."""

import re

_EMA = re.compile(r"/(ExponentialMovingAverage|EMA)(_\d+)?$")
MEAN_NAME = re.compile(r"(^|[/_])(moving_mean|running_mean|pop_mean|mean/EMA|movingmean|moving_avg)(_\d+)?$", re.I)
VARIANCE_NAME = re.compile(
    r"(^|[/_])(moving_variance|moving_var|moving_second_moment|running_var(iance)?|pop_var(iance)?|variance/EMA)(_\d+)?$",
    re.I,
)


def scope_of(name):
    """The layer that a moving statistic, gamma or beta belongs to, by its name."""
    name = re.sub(r"^.*->", "", name)
    shorter = _EMA.sub("", name)
    if shorter != name:
        # tensorpack: bn/mean/EMA. ExponentialMovingAverage of a tensor: bn/moments/Squeeze/ExponentialMovingAverage.
        name = re.sub(r"/(moments(_\d+)?|batchnorm(_\d+)?|cond(_\d+)?|normalize)(/.*)?$", "/x", shorter)
    return name.rpartition("/")[0] or name
