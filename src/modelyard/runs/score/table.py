"""A batch of a table's rows judged as ingest judges them: features made, expectations evaluated."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from modelyard.data.pii import Tokenizer
from modelyard.data.quarantine import Quarantine
from modelyard.data.table_features import add_features
from modelyard.data.table_personal import hide, stored_columns
from modelyard.data.table_scan import ScannedBatch
from modelyard.data.table_stage import ORDINAL, StageWriter, plain_table
from modelyard.data.table_validation import TableValidator
from modelyard.runs.score.blocks import Block, inputs_of
from modelyard.runs.score.contract import Contract


class Judge:
    """Turns scanned batches into blocks.

    Raises:
        WorkspaceError: the key that made the tokens of training is not there.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        hidden = any(item.pii for item in contract.fields)
        self._tokenizer = Tokenizer.open(contract.state_dir, make=False) if hidden else None

    def block(self, batch: ScannedBatch) -> Block:
        """Judge the rows of a batch; their numbers are ordinals of the scan."""
        import pyarrow.parquet as pq

        with TemporaryDirectory(prefix="modelyard-score-") as place:
            folder = Path(place)
            quarantine = Quarantine(folder)
            if batch.refused is not None:
                quarantine.add(batch.refused)
            unmet, rows, inputs = self._judge(batch, quarantine, folder)
            path = folder / "quarantine.parquet"
            quarantine.write(path, lambda ordinals: ordinals)
            refused = pq.read_table(path)
        num_refused = batch.num_rows - len(rows)
        return Block(rows, inputs, refused, num_refused, batch.num_rows, unmet)

    def _judge(
        self, batch: ScannedBatch, quarantine: Quarantine, folder: Path
    ) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
        import pyarrow as pa

        contract, params = self._contract, self._contract.params
        if not len(batch.ordinals):
            return (), batch.ordinals, {}
        columns = stored_columns(contract.fields, params)
        with StageWriter(folder / "rows") as writer:
            writer.add(
                batch.ordinals, hide(batch.columns, contract.fields, params, self._tokenizer)
            )
            stage = writer.finish()
        if params.features:
            stage, columns = add_features(stage, columns, params, contract.root, folder)
        validation = TableValidator(params, columns, contract.root).validate(stage, quarantine)
        unmet = tuple(str(verdict).partition(": observed")[0] for verdict in validation.failed)
        tables = [table for _, table in stage.tables([ORDINAL, *contract.names])]
        table = plain_table(pa.concat_tables(tables))
        return unmet, table.column(ORDINAL).to_numpy(), inputs_of(table, contract)
