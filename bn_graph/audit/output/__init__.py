"""A report in the formats that people and tools read.

Each module but `html` has `render(reports, colour, several)`, which returns text.

reports: a list of `AuditReport`s. colour: whether ANSI sequences colour it, where a format can have colours. several:
whether more than one path was asked about.
"""
