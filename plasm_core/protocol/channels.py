"""The channels of a conversation: which bytes a data frame carries (docs/protocol.md, "Channels, offsets and credit")."""

from __future__ import annotations

import enum

from plasm_core.records.output import OutputStream

MAX_DATA_BYTES = 65_536
"""The most bytes that one data frame carries."""


class Channel(enum.IntEnum):
    """The byte sequences of a conversation (docs/protocol.md, "Channels, offsets and credit")."""

    MODULE = 1
    ARGS = 2
    ENV = 3
    STDIN = 4
    STDOUT = 5
    STDERR = 6
    FILES = 7
    CONTENTS = 8

    label: str
    """The channel's name in messages."""

    @property
    def output(self) -> OutputStream:
        """The job's output that the channel carries. Raises: KeyError for a channel of the client."""
        return OutputStream[self.name]


for _channel in Channel:
    _channel.label = _channel.name.lower()  # once: `name` is slow, and each message asks for some

UPLOADS = (Channel.MODULE, Channel.ARGS, Channel.ENV, Channel.STDIN)
"""What the client sends for each job; for one with files also `FILES`."""
PROVABLE = (Channel.MODULE, Channel.FILES)
"""What need not be sent to a node that has it, if the client proves that it has it too."""
OUTPUTS = (Channel.STDOUT, Channel.STDERR)
