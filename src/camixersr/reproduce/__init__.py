"""The paper's tables, by one call: which sets are there, are they right, and what comes of them."""
