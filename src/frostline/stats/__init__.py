"""What does it mean? Paired comparisons, intervals, claims: from the journal of a run to its summary."""

from frostline.stats.summarise import read_summary, summarise, write_summary
from frostline.stats.summary import RunSummary

__all__ = ["RunSummary", "read_summary", "summarise", "write_summary"]
