"""python -m order_pipeline: the same as the order-pipeline command."""

from order_pipeline.cli import main

if __name__ == "__main__":
    main()
