"""Looking at the network: figures, notebook widgets and the demo. Nothing else in the package imports this part."""
