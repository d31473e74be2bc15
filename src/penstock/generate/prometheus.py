"""Rules and configuration of Prometheus, as YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import yaml

__all__ = ["AlertingRule", "prometheus_config", "prometheus_rules"]

_HEAD = "# Written by `penstock generate`. What you change here is gone the next time; change penstock.toml.\n"
_SHOWN = {
    "s": "{{ $value | humanizeDuration }}",
    "bytes": "{{ $value | humanize1024 }}B",
    "share": "{{ $value | humanizePercentage }}",
    "rows": "{{ $value | humanize }} rows",
}
_NAME = re.compile(r"\{(\w+)\}")


class AlertingRule(Protocol):
    """What is needed of a rule. `query`: PromQL; `summary` and `hint`: sentences with names in braces."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def severity(self) -> str:
        """How soon somebody has to act."""
        ...

    @property
    def query(self) -> str:
        """PromQL; each series of its answer is an alert."""
        ...

    @property
    def summary(self) -> str:
        """What is wrong."""
        ...

    @property
    def hint(self) -> str:
        """The next command."""
        ...

    @property
    def unit(self) -> str:
        """Of the value."""
        ...

    @property
    def for_s(self) -> float:
        """How long it must hold."""
        ...

    @property
    def keep_s(self) -> float:
        """How long it goes on afterwards."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Further labels."""
        ...


def prometheus_rules(rules: Sequence[AlertingRule], *, left_out: Sequence[str] = ()) -> dict[str, str]:
    """A file of rules, in one group. `left_out`: names of rules that ask something that Prometheus does not have."""
    written = [_rule(rule) for rule in rules]
    head = _HEAD
    if left_out:
        head += f"# Not here, because they ask logs or tables, which Penstock looks at itself: {', '.join(left_out)}.\n"
    return {"penstock-rules.yml": head + _yaml({"groups": [{"name": "penstock", "rules": written}]})}


def _rule(rule: AlertingRule) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.name, "expr": rule.query}
    if rule.for_s:
        found["for"] = _duration(rule.for_s)
    if rule.keep_s:
        found["keep_firing_for"] = _duration(rule.keep_s)
    found["labels"] = {"severity": str(rule.severity), **rule.labels}
    found["annotations"] = {"summary": _template(rule.summary, rule.unit)}
    if rule.hint:
        found["annotations"]["next"] = _template(rule.hint, rule.unit)
    return found


def _template(text: str, unit: str) -> str:
    """A sentence with names in braces as a template of Go."""

    def named(match: re.Match[str]) -> str:
        name = match[1]
        return _SHOWN.get(unit, "{{ $value | humanize }}") if name == "value" else f"{{{{ $labels.{name} }}}}"

    return _NAME.sub(named, text)


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds % 1 else f"{round(seconds)}s"


def prometheus_config(
    targets: Sequence[str],
    *,
    token_file: str,
    every_s: float = 10.0,
    alertmanagers: Sequence[str] = (),
    scheme: str = "http",
    ca_file: str | None = None,
) -> dict[str, str]:
    """A `prometheus.yml` that scrapes servers (`host:port`) with the token in a file, and loads the rules beside it.

    `scheme`: http or https. `ca_file`: whose certificates are trusted, where they are not those that everybody trusts.
    """
    tls = {} if ca_file is None else {"tls_config": {"ca_file": ca_file}}
    config: dict[str, Any] = {
        "global": {"scrape_interval": _duration(every_s), "evaluation_interval": _duration(every_s)},
        "rule_files": ["penstock-rules.yml"],
        "scrape_configs": [
            {
                "job_name": "penstock",
                "scheme": scheme,
                **tls,
                "authorization": {"type": "Bearer", "credentials_file": token_file},
                "static_configs": [{"targets": list(targets)}],
            }
        ],
    }
    if alertmanagers:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    return {"prometheus.yml": _HEAD + _yaml(config)}


def _yaml(values: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=4096)
    return text
