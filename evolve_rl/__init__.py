"""Entry points of the installed distribution.

Its other packages (tasks, flows, deployments) have names that many projects use for modules of their own. Every process
starts in this package, which makes sure that those of this installation are imported.
"""
