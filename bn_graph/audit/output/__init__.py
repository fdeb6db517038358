"""A report in the formats that people and tools read. Each module has `render(reports, colour)`, which returns text."""
