"""plugbus: an event-bus middleware microkernel for Python services."""

from plugbus._chain.failures import ListenerFailed
from plugbus._closing import Closing
from plugbus.bus import EventBus
from plugbus.clock import Clock, SystemClock
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
from plugbus.retry import Retry
from plugbus.services import Factory, Inject, Named, Override, Parameter, Registration, Scope, Services
from plugbus.statistics import BusStatistics, PluginStatistics
from plugbus.stream import EventStream, StreamStatistics
from plugbus.subscribers import AsyncNextFn, Declaration, Listener, NextFn, answers, declarations, listens, observes
from plugbus.subscription import Subscription
from plugbus.tasks import TaskHandle, Tasks, TasksStatistics, TaskState, TaskStatistics
