"""Timings of the library on this machine.

    sngan bench step --config=cifar10_resnet:sn
    sngan bench step --config=… --compare=unfused,unnormalized --peer=torch
    sngan bench methods --repeats=5 --out=runs/table2/methods.json
    sngan bench layers
    sngan bench metrics --extractor=classifier
    sngan bench input --config=imagenet128 --jpeg=400
    sngan bench start

Each prints a table and, as its last line, one JSON object with the same figures, the commit and the
machine. Variants to be compared take turns in one process, and figures are medians.
"""

PROGRAMS = {
    "step": "an iteration of a config, and of others to compare: time, parts, FLOPs, memory",
    "layers": "forward and backward of the CIFAR ResNet D, normalized over plain",
    "methods": "100 updates of G with every method, and their ratio to no normalization",
    "metrics": "images per second through the extractor, and seconds for each score",
    "input": "images per second of a config's input: sampled on the device, or read from files",
    "start": "from the shell to the first iteration",
}
