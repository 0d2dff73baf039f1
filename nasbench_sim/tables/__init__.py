"""What was measured: tables of accuracies and costs, their files, importers and downloads. No search algorithms."""

from nasbench_sim.tables.catalogue import list_tables, open_modules, open_table
from nasbench_sim.tables.curves import open_curves
from nasbench_sim.tables.evaluation import evaluation_seconds, fidelities
from nasbench_sim.tables.store import read_table, write_table
from nasbench_sim.tables.table import Handle, Key, Source, Table

__all__ = [
    "Handle",
    "Key",
    "Source",
    "Table",
    "evaluation_seconds",
    "fidelities",
    "list_tables",
    "open_curves",
    "open_modules",
    "open_table",
    "read_table",
    "write_table",
]
