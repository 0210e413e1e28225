"""What every other room may use: checks of what comes in, types of arrays.

Nothing here knows of networks. Read `validation` when an error message interests you.
"""
