"""compose: conf/ becomes params.yaml, checked against the schema; the lock that every stage reads."""
