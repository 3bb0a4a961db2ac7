"""README and docs/: what they link, the commands in them, and that their samples are what is printed.

    pages.py        The pages as links, headings and samples
    test_pages.py   Every page is linked, every link leads somewhere, every command can be parsed
    test_samples.py Samples are run, and are what is printed
    test_examples.py The recipes under examples/
    commands.py     docs/commands.md, made from the parser
    completions.py  Completions for bash and zsh, made from the parser; test_completions.py
"""
