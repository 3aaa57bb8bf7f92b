"""Taobao Open Platform: signing, client, errors, paging, parsing."""
