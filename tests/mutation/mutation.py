"""A bug as a replacement in our source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One bug.

    Args:
        id: what it is.
        module: the file, as a module of the package.
        replacements: pairs of old and new text.
        subject: the registered name whose tests must notice, or else the file or folder of tests that must.
    """

    id: str
    module: str
    replacements: tuple[tuple[str, str], ...]
    subject: str


def bug(id, module, subject, *replacements):
    return Mutation(id, module, replacements, subject)


def apply(mutation, source):
    """The source with the bug in it.

    Raises:
        LookupError: a text is not there exactly once.
    """
    for old, new in mutation.replacements:
        if source.count(old) != 1:
            raise LookupError(
                f"the mutation {mutation.id!r} is stale: {mutation.module} has {source.count(old)} times {old!r}, "
                "not once; bring the list of mutations up to date"
            )
        source = source.replace(old, new)
    return source
