"""Sweeps: many trainings that differ in a few params, and the best of them as a challenger.

The truth of a sweep is a folder of JSON files, one a trial, each written whole; what to try next
and what to give up are functions of them. So a sweep that is killed goes on where it was.
"""
