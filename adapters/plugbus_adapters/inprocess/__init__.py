"""The kernel by wire name and plain data, in this process: validated like a remote call, without a network."""

from plugbus_adapters.inprocess._calls import InProcess
from plugbus_adapters.inprocess._streams import PlainStatistics, PlainStream
from plugbus_adapters.inprocess._sync import SyncInProcess

__all__ = ("InProcess", "PlainStatistics", "PlainStream", "SyncInProcess")
