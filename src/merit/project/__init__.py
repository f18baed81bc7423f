"""Creates projects that use merit as a library (`merit new`) and upgrades them (`merit upgrade`)."""
