"""What every other subpackage may use: checks of what users pass in, types of arrays, whole files.

Nothing here knows of networks. Read `validation` when an error message interests you;
`whole_files` writes every file, so that it appears under its name when it is whole, or not at all.
"""
