"""What tests of faults share with those of the whole deployment: its folder, and the image's programs."""

from order_pipeline_tests.deployment.conftest import folder, programs

__all__ = ["folder", "programs"]
