"""With Dynamic PAMT."""


def compare_calls(vectors):
    return iter(())


def compare_interleavings(vectors):
    return iter(())
