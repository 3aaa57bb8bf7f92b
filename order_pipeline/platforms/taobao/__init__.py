"""Taobao and Tmall: how the Taobao Open Platform speaks."""
