"""The way of an order from a platform's lists into the warehouse. Knows no Dagster."""
