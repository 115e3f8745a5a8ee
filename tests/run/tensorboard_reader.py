"""Reads scalars from TensorBoard event files with tensorboardX's own protocol buffers."""

import struct

from tensorboardX.proto.event_pb2 import Event


def scalars(folder):
    """{tag: {step: value}} of all event files below a folder."""
    found = {}
    for file in sorted(folder.glob("events.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12:at + 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
            at += 12 + length + 4
    return found
