"""Runs MANY flows in MANY environments: the project and its environments, loading, binding, one run, its tables."""

from penstock.control.binding import KINDS, Binding
from penstock.control.bundles import Bundle, bundle_of, bundles, load_bundle, make_bundle, version_environment
from penstock.control.environment import Bound, bind
from penstock.control.inspecting import inspect_flow, source_schemas
from penstock.control.ledgers import has_ledger, opened_ledger, read_ledger
from penstock.control.loading import FlowFile, LoadedFlow, Target, find_flow, known_flows, load_flow
from penstock.control.locks import flow_lock, lock_holder
from penstock.control.project import (
    Environment,
    Project,
    bare_project,
    find_project,
    load_project,
    project_for,
)
from penstock.control.reset import Removal, plan_reset, reset_here
from penstock.control.running import PreparedRun, locate, prepare, run_here
from penstock.control.sql import LEDGER_VIEWS, QueryResult, SqlSession
from penstock.control.tables import TableFacts, environment_tables, flow_folder
from penstock.control.version_environments import python_of

__all__ = [
    "KINDS",
    "LEDGER_VIEWS",
    "Binding",
    "Bound",
    "Bundle",
    "Environment",
    "FlowFile",
    "LoadedFlow",
    "PreparedRun",
    "Project",
    "QueryResult",
    "Removal",
    "SqlSession",
    "TableFacts",
    "Target",
    "bare_project",
    "bind",
    "bundle_of",
    "bundles",
    "environment_tables",
    "find_flow",
    "find_project",
    "flow_folder",
    "flow_lock",
    "has_ledger",
    "inspect_flow",
    "known_flows",
    "load_bundle",
    "load_flow",
    "load_project",
    "locate",
    "lock_holder",
    "make_bundle",
    "opened_ledger",
    "plan_reset",
    "prepare",
    "project_for",
    "python_of",
    "read_ledger",
    "reset_here",
    "run_here",
    "source_schemas",
    "version_environment",
]
