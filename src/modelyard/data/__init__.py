"""From the raw source to a validated dataset version.

Fetch, read, check, validate, split, fit what is fitted on train.
"""
