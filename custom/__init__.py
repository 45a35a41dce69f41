"""The team's own models: a function here is a factory, as ``custom.module:function``."""
