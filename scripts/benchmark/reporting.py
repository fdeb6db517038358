"""Sums up what was measured: spreads, ratios, tables and figures."""

import statistics


def spread(runs, key, unit=1):
    """Median, least and most over the rounds, in `unit`."""
    values = [run[key] / unit for run in runs]
    return statistics.median(values), min(values), max(values)


def median(runs, key, unit=1):
    """The median over the rounds, in `unit`."""
    return spread(runs, key, unit)[0]


def median_ratio(some, others):
    """The median of the ratios of speeds that were measured one after the other, under the same conditions."""
    pairs = [(one["speeds"], other["speeds"]) for one, other in zip(some, others, strict=True)]
    return statistics.median(x / y for speeds in pairs for x, y in zip(*speeds, strict=True))


def table(header, rows):
    """The lines of a table: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip()


def new_figure(width, height):
    from matplotlib.figure import Figure  # here, so that a user's mistake need not wait for it

    return Figure(figsize=(width, height))
