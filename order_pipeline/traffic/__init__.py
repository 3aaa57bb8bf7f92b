"""What every call passes through, whatever the platform. Knows no platform and no Dagster."""
