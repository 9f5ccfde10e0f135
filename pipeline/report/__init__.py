"""The report: one page, with sound and pictures beside it, that says what came out."""
