"""The figures of a report, in its order; each a function of (what was found, a folder)."""
FIGURES = ()


def draw(figures, found, folder):
    return tuple(figure(found, folder) for figure in figures)
