"""A log of events in a SQLite file, with nothing but the standard library."""

from plugbus_adapters.sqlite_log._file import EventLogFileError
from plugbus_adapters.sqlite_log._log import SQLiteEventLog

__all__ = ("EventLogFileError", "SQLiteEventLog")
