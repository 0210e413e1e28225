"""How good the models for tables are, and what they cost, beside boosted trees on 22 tables."""
