"""Batch scoring: a source by contract in, predictions in Parquet out, in bounded memory.

Rows are read and judged by the contract that the model was trained under, which its proof carries,
and answered by the very file that serves.
"""
