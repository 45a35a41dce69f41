"""A data contract proposed from a source: profiled once, each guess with its evidence."""

from modelyard.data.suggest.proposal import Proposal
from modelyard.data.suggest.propose import propose
from modelyard.data.suggest.recipe import recipe
from modelyard.data.suggest.written import data_yaml

__all__ = ["Proposal", "data_yaml", "propose", "recipe"]
