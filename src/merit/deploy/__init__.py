"""deploy: plan, apply and record what each environment runs."""
