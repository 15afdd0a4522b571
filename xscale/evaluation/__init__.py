"""Evaluation: every manifest entry scored alike, through lm_eval."""
