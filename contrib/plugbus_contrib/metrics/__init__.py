"""Prometheus metrics of a kernel: what runs, how long it takes, what fails, and how full it is."""

from plugbus_contrib.metrics._metrics import Metrics, Rendered
from plugbus_contrib.metrics._plugin import MetricsPlugin

__all__ = ("Metrics", "MetricsPlugin", "Rendered")
