"""Questions asked of many seeds; one file per question."""
