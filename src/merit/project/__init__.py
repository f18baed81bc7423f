"""A project of one's own, with merit as a library: `merit new` makes it, `merit upgrade` keeps it current."""
