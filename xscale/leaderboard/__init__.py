"""The leaderboard: tables, statistics, curves and a report, from the manifest and the prediction store alone."""
