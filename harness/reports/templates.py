"""Pages for a browser: a template of this folder, filled in by jinja2 (the extra `report`)."""

from harness.host import extras


def filled(template: str, asked: str, **values) -> str:
    """The page as text.  asked: what a person has asked for, for the line that says that jinja2 is missing.

    Text is escaped; a name that the template uses and `values` has not is an error.  Raises UsageError if jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise extras.missing(asked, "report") from None
    environment = jinja2.Environment(loader=jinja2.PackageLoader("harness.reports", "."), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def as_it_is(markup: str):
    """Markup that is not to be escaped."""
    import jinja2
    return jinja2.utils.markupsafe.Markup(markup)
