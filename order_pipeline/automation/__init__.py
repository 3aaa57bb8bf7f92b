"""When things run: schedules, sensors, jobs."""
