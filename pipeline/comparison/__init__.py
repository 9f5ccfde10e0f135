"""The comparison: from scores to means, intervals, the table, and reviews of changes."""
