"""Rules and figures, as pure functions: values in, values out. No SQL, no Dagster, no clock of their own."""
