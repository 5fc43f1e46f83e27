"""The doors of the installed distribution, under a name that no project of a user's has.

The packages behind them (tasks, flows, deployments) have names that many projects use for modules of their own. Every
process that is started begins in this package, which makes sure that ours are imported.
"""
