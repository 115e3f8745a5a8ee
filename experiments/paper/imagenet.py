"""Class-conditional ImageNet at 128x128: the published single numbers.

Figures 5 and 13 of the paper are curves whose points were never printed, so they are not here. The
paper says that without normalization and with layer norm, training collapsed at the beginning.
Sources: Figure 7 of arXiv 1802.05957v1; README_paper.md of the authors' sngan_projection. All were
trained on 4 GPUs with global batches of 64 for D and 128 for G.
"""

from . import Row, Value


def _values(score: Value, intra: Value) -> dict[tuple[str, str], Value]:
    return {("IS", "imagenet128"): score, ("intra-FID", "imagenet128"): intra}


ROWS = (
    Row("SN-GAN, concat, 450,000 iterations", "resnet", "sn", "hinge",
        _values(Value(21.1, 0.35), Value(141.2)),
        footnote="± of Figure 7; intra-FID from README_paper.md"),
    Row("SN-GAN, projection, 450,000 iterations", "resnet", "sn", "hinge",
        _values(Value(29.7), Value(103.1)), footnote="README_paper.md"),
    Row("SN-GAN, projection, 850,000 iterations", "resnet", "sn", "hinge",
        _values(Value(36.8), Value(92.4)),
        footnote="README_paper.md; the schedule of this run was not published"),
)
