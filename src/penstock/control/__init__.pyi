from .alerting.beginning import alert_duty
from .alerting.desk import AlertDesk, ShownAlert
from .alerting.duty import AlertDuty
from .alerting.looking import Alerting
from .alerting.planning import AlertPlan, alert_plan
from .alerting.telling import circumstance_of, delivery, try_route
from .binding import KINDS, Binding
from .bundles import Bundle, bundle_of, bundles, load_bundle, make_bundle, version_environment
from .chaos.conducting import Performance, Wanted
from .chaos.verdicts import Outcome, Report, Verdict
from .environment import Bound, bind
from .gate import (
    Conduct,
    Determinism,
    Gate,
    Judgement,
    Reason,
    Receipt,
    RowDiff,
    diffs_of_report,
    epochs_compared,
    receipt_of_facts,
    share_text,
)
from .inspecting import inspect_flow, source_schemas
from .ledgers import has_ledger, opened_ledger, read_ledger
from .letters import (
    Letter,
    Tried,
    chosen_letters,
    drop_letters,
    edited_payload,
    letters_of,
    replay_letters,
    try_letters,
)
from .loading import FlowFile, LoadedFlow, Target, find_flow, known_flows, load_flow
from .locks import flow_lock, lock_holder
from .log_answers import LogAnswers
from .log_catching import caught_logs, log_folder
from .log_keeping import LogKeeper, filed_logs, retention_of
from .log_settings import LogMetric, LogPolicy
from .metering.keeping import opened_history, read_history
from .metering.meter import LogCounts, Meter
from .metering.pushing import otlp_push
from .metering.sampling import Sampler
from .policies import Extent, extent_of
from .project import Environment, Project, bare_project, find_project, load_project, project_for
from .reset import Removal, plan_reset, reset_here
from .rollouts.asking import Asker, Intent, UndoPreview, begin_by_request, epochs_of, manner_of
from .rollouts.errands import input_of_epoch, trial_of_letters
from .rollouts.machine import Rollouts
from .rollouts.plans import Manner
from .rollouts.stages import Stage, plan_from_json, short
from .running import PreparedRun, locate, prepare, run_here
from .sizes import bytes_of
from .sql import QueryResult, SqlSession
from .sql_views import LEDGER_VIEWS
from .supervising.crew import Crew
from .supervising.policy import RestartPolicy
from .supervising.presence import ServerFacts, read_server
from .supervising.schedule import CatchUp, Schedule, next_us
from .supervising.server import Server
from .supervising.status import FlowStatus, flow_statuses, is_there, living_server, member_values
from .supervising.supervisor import Duty, Settings, settings_of
from .supervising.watchdog import Limits
from .supervising.wishes import Wisher
from .tables import TableFacts, environment_tables, flow_folder
from .tracing import TracedRow, trace_rows, traced_table
from .version_environments import python_of
from .versions import RUNNING, WORKING, KnownVersion, known_versions, version_manifest

__all__ = [
    "KINDS",
    "LEDGER_VIEWS",
    "RUNNING",
    "WORKING",
    "AlertDesk",
    "AlertDuty",
    "AlertPlan",
    "Alerting",
    "Asker",
    "Binding",
    "Bound",
    "Bundle",
    "CatchUp",
    "Conduct",
    "Crew",
    "Determinism",
    "Duty",
    "Environment",
    "Extent",
    "FlowFile",
    "FlowStatus",
    "Gate",
    "Intent",
    "Judgement",
    "KnownVersion",
    "Letter",
    "Limits",
    "LoadedFlow",
    "LogAnswers",
    "LogCounts",
    "LogKeeper",
    "LogMetric",
    "LogPolicy",
    "Manner",
    "Meter",
    "Outcome",
    "Performance",
    "PreparedRun",
    "Project",
    "QueryResult",
    "Reason",
    "Receipt",
    "Removal",
    "Report",
    "RestartPolicy",
    "Rollouts",
    "RowDiff",
    "Sampler",
    "Schedule",
    "Server",
    "ServerFacts",
    "Settings",
    "ShownAlert",
    "SqlSession",
    "Stage",
    "TableFacts",
    "Target",
    "TracedRow",
    "Tried",
    "UndoPreview",
    "Verdict",
    "Wanted",
    "Wisher",
    "alert_duty",
    "alert_plan",
    "bare_project",
    "begin_by_request",
    "bind",
    "bundle_of",
    "bundles",
    "bytes_of",
    "caught_logs",
    "chosen_letters",
    "circumstance_of",
    "delivery",
    "diffs_of_report",
    "drop_letters",
    "edited_payload",
    "environment_tables",
    "epochs_compared",
    "epochs_of",
    "extent_of",
    "filed_logs",
    "find_flow",
    "find_project",
    "flow_folder",
    "flow_lock",
    "flow_statuses",
    "has_ledger",
    "input_of_epoch",
    "inspect_flow",
    "is_there",
    "known_flows",
    "known_versions",
    "letters_of",
    "living_server",
    "load_bundle",
    "load_flow",
    "load_project",
    "locate",
    "lock_holder",
    "log_folder",
    "make_bundle",
    "manner_of",
    "member_values",
    "next_us",
    "opened_history",
    "opened_ledger",
    "otlp_push",
    "plan_from_json",
    "plan_reset",
    "prepare",
    "project_for",
    "python_of",
    "read_history",
    "read_ledger",
    "read_server",
    "receipt_of_facts",
    "replay_letters",
    "reset_here",
    "retention_of",
    "run_here",
    "settings_of",
    "share_text",
    "short",
    "source_schemas",
    "trace_rows",
    "traced_table",
    "trial_of_letters",
    "try_letters",
    "try_route",
    "version_environment",
    "version_manifest",
]
