"""The report of the gate: its schema, and how it is rendered as HTML, Markdown and on a terminal."""
