"""What merit prints: tables, JSON log lines, and the masking of secrets in both."""
