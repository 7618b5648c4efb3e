"""plugbus: an event-bus middleware microkernel for Python services."""

from plugbus._chain.failures import ListenerFailed
from plugbus._closing import Closing
from plugbus._context import Carried, Current, carried, resumed
from plugbus.bound import Bound
from plugbus.bus import EventBus
from plugbus.clock import Clock, SystemClock
from plugbus.context import acting_as, current
from plugbus.errors import (
    BreakerOpenError,
    ChainContractError,
    Conflict,
    DuplicateHandlerError,
    DuplicateNameError,
    EmitCancelled,
    EmitLoopError,
    EventDataError,
    EventTypeError,
    Forbidden,
    Invalid,
    KernelStartError,
    ListenerTimeoutError,
    ManifestError,
    NoHandlerError,
    NotFound,
    OrderCycleError,
    PermissionDeniedError,
    PlugbusError,
    PluginBootError,
    PluginError,
    PluginGoneError,
    PluginInUseError,
    PluginLoadError,
    PluginNotFoundError,
    PluginStuckError,
    PluginTimeoutError,
    Problem,
    Refused,
    ServiceError,
    SettingsError,
    StreamOverflowError,
    SubscriptionError,
    SyncEmitError,
    Unavailable,
    UnknownEventError,
    Veto,
    WiringError,
)
from plugbus.event_types import EventType, event, event_type
from plugbus.events import Event, NamedEvent, Request, replace
from plugbus.explain import Plan, PlanStep
from plugbus.health import Health, KernelHealth, PluginHealth
from plugbus.hookspecs import hookimpl, hookspec
from plugbus.instrument import Instrument, Watched
from plugbus.kernel import Kernel
from plugbus.lifecycle import KernelReady, KernelStopping, PluginFailed, PluginReady, PluginState, PluginUnloaded
from plugbus.log import Logger
from plugbus.manifest import Manifest
from plugbus.options import ABSENT, Breaker
from plugbus.owner import Owner
from plugbus.plugin import Plugin, PluginContext, provides
from plugbus.plugins import KernelPlan, PluginRecord, Plugins, PluginStep
from plugbus.portal import KernelPortal
from plugbus.principal import Principal
from plugbus.retry import Retry
from plugbus.services import Factory, Inject, Lifetime, Named, Override, Parameter, Registration, Services
from plugbus.statistics import BusStatistics, PluginStatistics
from plugbus.stream import EventStream, StreamStatistics
from plugbus.subscribers import AsyncNextFn, Declaration, Listener, NextFn, answers, declarations, listens, observes
from plugbus.subscription import Subscription
from plugbus.tasks import TaskHandle, Tasks, TasksStatistics, TaskState, TaskStatistics

__all__ = (
    "ABSENT",
    "AsyncNextFn",
    "Bound",
    "Breaker",
    "BreakerOpenError",
    "BusStatistics",
    "Carried",
    "ChainContractError",
    "Clock",
    "Closing",
    "Conflict",
    "Current",
    "Declaration",
    "DuplicateHandlerError",
    "DuplicateNameError",
    "EmitCancelled",
    "EmitLoopError",
    "Event",
    "EventBus",
    "EventDataError",
    "EventStream",
    "EventType",
    "EventTypeError",
    "Factory",
    "Forbidden",
    "Health",
    "Inject",
    "Instrument",
    "Invalid",
    "Kernel",
    "KernelHealth",
    "KernelPlan",
    "KernelPortal",
    "KernelReady",
    "KernelStartError",
    "KernelStopping",
    "Lifetime",
    "Listener",
    "ListenerFailed",
    "ListenerTimeoutError",
    "Logger",
    "Manifest",
    "ManifestError",
    "Named",
    "NamedEvent",
    "NextFn",
    "NoHandlerError",
    "NotFound",
    "OrderCycleError",
    "Override",
    "Owner",
    "Parameter",
    "PermissionDeniedError",
    "Plan",
    "PlanStep",
    "PlugbusError",
    "Plugin",
    "PluginBootError",
    "PluginContext",
    "PluginError",
    "PluginFailed",
    "PluginGoneError",
    "PluginHealth",
    "PluginInUseError",
    "PluginLoadError",
    "PluginNotFoundError",
    "PluginReady",
    "PluginRecord",
    "PluginState",
    "PluginStatistics",
    "PluginStep",
    "PluginStuckError",
    "PluginTimeoutError",
    "PluginUnloaded",
    "Plugins",
    "Principal",
    "Problem",
    "Refused",
    "Registration",
    "Request",
    "Retry",
    "ServiceError",
    "Services",
    "SettingsError",
    "StreamOverflowError",
    "StreamStatistics",
    "Subscription",
    "SubscriptionError",
    "SyncEmitError",
    "SystemClock",
    "TaskHandle",
    "TaskState",
    "TaskStatistics",
    "Tasks",
    "TasksStatistics",
    "Unavailable",
    "UnknownEventError",
    "Veto",
    "Watched",
    "WiringError",
    "acting_as",
    "answers",
    "carried",
    "current",
    "declarations",
    "event",
    "event_type",
    "hookimpl",
    "hookspec",
    "listens",
    "observes",
    "provides",
    "replace",
    "resumed",
)
