"""Every error of plugbus, in one tree.

A message says what happened, where, and what to do; the facts are attributes; every error pickles.

::

    PlugbusError
    |-- Refused                      business code says no; passes every policy and edge
    |   |-- Veto
    |   |-- Forbidden
    |   |-- NotFound
    |   |-- Conflict
    |   |-- Invalid
    |   `-- Unavailable
    |-- DuplicateHandlerError        registering
    |-- DuplicateNameError
    |-- UnknownEventError            also a LookupError
    |-- EventTypeError               also a TypeError
    |-- EventDataError               also a ValueError
    |-- SubscriptionError            also a TypeError
    |-- OrderCycleError
    |-- NoHandlerError               running; also a LookupError
    |-- ChainContractError
    |-- EmitLoopError
    |-- NoPrincipalError
    |-- ContextLeakError
    |-- SyncEmitError
    |-- ListenerTimeoutError
    |-- BreakerOpenError
    |-- StreamOverflowError
    |-- CursorError                  also a ValueError
    |-- CursorExpiredError
    |-- WorkerProcessError
    |-- BackgroundFullError
    |-- NotDeliveredError            carried by ListenerFailed
    |-- NotSettledError              in tests
    |-- PermissionDeniedError
    |-- WiringError                  wiring and starting
    |-- ServiceError
    |-- KernelStartError
    `-- PluginError                  one plugin
        |-- ManifestError
        |-- PluginLoadError
        |-- PluginBootError
        |-- PluginTimeoutError
        |-- PluginGoneError
        |-- PluginStuckError
        |-- PluginInUseError
        |-- PluginNotFoundError      also a KeyError
        |-- ReloadError
        |-- SettingsError
        `-- ConfigureError

    EmitCancelled                    a BaseException: cancellation, no error
    Problem                          a value: one thing that is wrong, among others
"""

from __future__ import annotations

from plugbus._errors.background import (
    BackgroundFullError,
    ContextLeakError,
    CursorError,
    CursorExpiredError,
    NotDeliveredError,
    NotSettledError,
)
from plugbus._errors.base import PlugbusError, Problem
from plugbus._errors.plugins import (
    KernelStartError,
    ManifestError,
    PluginBootError,
    PluginError,
    PluginGoneError,
    PluginInUseError,
    PluginLoadError,
    PluginNotFoundError,
    PluginStuckError,
    PluginTimeoutError,
    ReloadError,
    ServiceError,
    WiringError,
)
from plugbus._errors.refusals import Conflict, Forbidden, Invalid, NotFound, Refused, Unavailable, Veto
from plugbus._errors.registering import (
    DuplicateHandlerError,
    DuplicateNameError,
    EventDataError,
    EventTypeError,
    OrderCycleError,
    SubscriptionError,
    UnknownEventError,
)
from plugbus._errors.running import (
    BreakerOpenError,
    ChainContractError,
    EmitCancelled,
    EmitLoopError,
    ListenerTimeoutError,
    NoHandlerError,
    NoPrincipalError,
    PermissionDeniedError,
    StreamOverflowError,
    SyncEmitError,
    WorkerProcessError,
)
from plugbus._errors.settings import ConfigureError, SettingsError

__all__ = (
    "BackgroundFullError",
    "BreakerOpenError",
    "ChainContractError",
    "ConfigureError",
    "Conflict",
    "ContextLeakError",
    "CursorError",
    "CursorExpiredError",
    "DuplicateHandlerError",
    "DuplicateNameError",
    "EmitCancelled",
    "EmitLoopError",
    "EventDataError",
    "EventTypeError",
    "Forbidden",
    "Invalid",
    "KernelStartError",
    "ListenerTimeoutError",
    "ManifestError",
    "NoHandlerError",
    "NoPrincipalError",
    "NotDeliveredError",
    "NotFound",
    "NotSettledError",
    "OrderCycleError",
    "PermissionDeniedError",
    "PlugbusError",
    "PluginBootError",
    "PluginError",
    "PluginGoneError",
    "PluginInUseError",
    "PluginLoadError",
    "PluginNotFoundError",
    "PluginStuckError",
    "PluginTimeoutError",
    "Problem",
    "Refused",
    "ReloadError",
    "ServiceError",
    "SettingsError",
    "StreamOverflowError",
    "SubscriptionError",
    "SyncEmitError",
    "Unavailable",
    "UnknownEventError",
    "Veto",
    "WiringError",
    "WorkerProcessError",
)

# One public path each: tracebacks, logs and pickles name plugbus.errors, wherever the class is written.
for _public in __all__:
    globals()[_public].__module__ = __name__
