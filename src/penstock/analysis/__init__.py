"""What can be KNOWN without running: schemas, lineage, diff of two versions, compatibility verdict."""

from penstock.analysis.column_types import is_wider
from penstock.analysis.compatibility import (
    MigrationFacts,
    Outcome,
    TableVerdict,
    Verdict,
    compare,
    migration_facts,
    renames_of,
)
from penstock.analysis.declared import to_schema
from penstock.analysis.describe import describe
from penstock.analysis.facts import WINDOW_END, WINDOW_START, Analysis, StepFacts
from penstock.analysis.faults import columns_text, type_text
from penstock.analysis.layout import Layout, lay_out
from penstock.analysis.lineage import ColumnOrigin, lineage, sources_of
from penstock.analysis.picture import draw_svg, draw_text
from penstock.analysis.pruning import needed_columns
from penstock.analysis.queries import closed_connection
from penstock.analysis.schemas import analyse
from penstock.analysis.state_columns import ColumnVerdict
from penstock.analysis.state_layout import (
    Empty,
    IfChanged,
    StateColumn,
    StateFact,
    StateLayout,
    layouts_from_json,
    layouts_json,
    meaning_of,
    reads_as,
    state_fingerprint,
)
from penstock.analysis.step_names import StepNames
from penstock.analysis.version_diff import (
    CodeChange,
    ColumnsChange,
    EndChange,
    StepChange,
    VersionDiff,
    diff_versions,
    state_verdict,
)

__all__ = [
    "WINDOW_END",
    "WINDOW_START",
    "Analysis",
    "CodeChange",
    "ColumnOrigin",
    "ColumnVerdict",
    "ColumnsChange",
    "Empty",
    "EndChange",
    "IfChanged",
    "Layout",
    "MigrationFacts",
    "Outcome",
    "StateColumn",
    "StateFact",
    "StateLayout",
    "StepChange",
    "StepFacts",
    "StepNames",
    "TableVerdict",
    "Verdict",
    "VersionDiff",
    "analyse",
    "closed_connection",
    "columns_text",
    "compare",
    "describe",
    "diff_versions",
    "draw_svg",
    "draw_text",
    "is_wider",
    "lay_out",
    "layouts_from_json",
    "layouts_json",
    "lineage",
    "meaning_of",
    "migration_facts",
    "needed_columns",
    "reads_as",
    "renames_of",
    "sources_of",
    "state_fingerprint",
    "state_verdict",
    "to_schema",
    "type_text",
]
