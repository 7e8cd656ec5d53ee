"""A report as a page, as Markdown, as JSON and as PNG pictures."""
