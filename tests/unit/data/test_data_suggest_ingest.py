"""Whatever is proposed for a table parses, and the table passes the contract made from it."""

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.artifacts import Layout
from modelyard.data.fetch import fetch
from modelyard.data.ingest import ingest
from modelyard.data.suggest import data_yaml, propose, recipe
from modelyard.params import parse
from modelyard.params.tree import read_text
from tests.unit.data.suggest_tables import draw


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_a_source_passes_the_contract_that_is_made_from_it(seed: int) -> None:
    name, content = draw(Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / name).write_bytes(content)
        proposal = propose(Layout(root), name)
        assert read_text(data_yaml(proposal))["data"] == proposal.tree
        params = parse(read_text(recipe(proposal, "drawn")))
        fetch(Layout(root), params.data, root / "state")
        dataset = ingest(Layout(root), params.data, root / "state")
        assert sum(dataset.rows.values()) + dataset.num_rejected == proposal.num_rows
        assert dataset.features
