"""The training the authors never released: losses, one loop, and its stages: §4.1's two, and one before.

Importing this package loads none of its modules: `stages.train` for a whole stage, `loop.fit` for a model and samples
of your own, `config.add_arguments` for the command line.
"""
