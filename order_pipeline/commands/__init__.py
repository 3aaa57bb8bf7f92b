"""What the order-pipeline command does, one module a command. The roof: may use every room; none uses it."""
