"""The report's page: one module a section; `xscale.leaderboard.report` puts them together."""
