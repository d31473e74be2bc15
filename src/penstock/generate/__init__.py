"""TEXT from definitions: alert rules and scrape configuration for Prometheus, dashboards for Grafana.

A function takes plain values and gives `{path: text}`. Nothing here writes a file, asks a server or knows a flow.
"""

from penstock.generate.grafana import grafana_dashboards
from penstock.generate.prometheus import AlertingRule, prometheus_config, prometheus_rules

__all__ = ["AlertingRule", "grafana_dashboards", "prometheus_config", "prometheus_rules"]
