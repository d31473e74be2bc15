"""Runs MANY flows in MANY environments: the project and its environments, loading, binding, one run, its tables."""

from penstock.control.binding import KINDS, Binding
from penstock.control.bundles import Bundle, bundle_of, bundles, load_bundle, make_bundle, version_environment
from penstock.control.chaos.conducting import Performance, Wanted
from penstock.control.chaos.verdicts import Outcome, Report, Verdict
from penstock.control.environment import Bound, bind
from penstock.control.gate import (
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
from penstock.control.inspecting import inspect_flow, source_schemas
from penstock.control.ledgers import has_ledger, opened_ledger, read_ledger
from penstock.control.letters import (
    Letter,
    Tried,
    chosen_letters,
    drop_letters,
    edited_payload,
    letters_of,
    replay_letters,
    try_letters,
)
from penstock.control.loading import FlowFile, LoadedFlow, Target, find_flow, known_flows, load_flow
from penstock.control.locks import flow_lock, lock_holder
from penstock.control.metering import flow_samples
from penstock.control.policies import Extent, extent_of
from penstock.control.project import (
    Environment,
    Project,
    bare_project,
    find_project,
    load_project,
    project_for,
)
from penstock.control.reset import Removal, plan_reset, reset_here
from penstock.control.rollouts.asking import Asker, Intent, UndoPreview, begin_by_request, epochs_of, manner_of
from penstock.control.rollouts.machine import Rollouts
from penstock.control.rollouts.plans import Manner
from penstock.control.rollouts.stages import Stage, plan_from_json, short
from penstock.control.running import PreparedRun, locate, prepare, run_here
from penstock.control.sizes import bytes_of
from penstock.control.sql import LEDGER_VIEWS, QueryResult, SqlSession
from penstock.control.supervising.crew import Crew
from penstock.control.supervising.policy import RestartPolicy
from penstock.control.supervising.presence import ServerFacts, read_server
from penstock.control.supervising.schedule import CatchUp, Schedule, next_us
from penstock.control.supervising.server import Server
from penstock.control.supervising.status import FlowStatus, flow_statuses, is_there, living_server, member_values
from penstock.control.supervising.supervisor import Duty, Settings, settings_of
from penstock.control.supervising.watchdog import Limits
from penstock.control.supervising.wishes import Wisher
from penstock.control.tables import TableFacts, environment_tables, flow_folder
from penstock.control.version_environments import python_of
from penstock.control.versions import RUNNING, WORKING, KnownVersion, known_versions, version_manifest

__all__ = [
    "KINDS",
    "LEDGER_VIEWS",
    "RUNNING",
    "WORKING",
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
    "Manner",
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
    "Schedule",
    "Server",
    "ServerFacts",
    "Settings",
    "SqlSession",
    "Stage",
    "TableFacts",
    "Target",
    "Tried",
    "UndoPreview",
    "Verdict",
    "Wanted",
    "Wisher",
    "bare_project",
    "begin_by_request",
    "bind",
    "bundle_of",
    "bundles",
    "bytes_of",
    "chosen_letters",
    "diffs_of_report",
    "drop_letters",
    "edited_payload",
    "environment_tables",
    "epochs_compared",
    "epochs_of",
    "extent_of",
    "find_flow",
    "find_project",
    "flow_folder",
    "flow_lock",
    "flow_samples",
    "flow_statuses",
    "has_ledger",
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
    "make_bundle",
    "manner_of",
    "member_values",
    "next_us",
    "opened_ledger",
    "plan_from_json",
    "plan_reset",
    "prepare",
    "project_for",
    "python_of",
    "read_ledger",
    "read_server",
    "receipt_of_facts",
    "replay_letters",
    "reset_here",
    "run_here",
    "settings_of",
    "share_text",
    "short",
    "source_schemas",
    "try_letters",
    "version_environment",
    "version_manifest",
]
