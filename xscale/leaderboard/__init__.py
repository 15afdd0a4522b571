"""The leaderboard: tables, statistics, curves, a report; from the manifest and the predictions alone."""
