"""``regsetup rm``: take tags and images away, one by one or by a rule."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import completion, options, remote, render
from regsetup.cli import gc as collecting
from regsetup.cli.gc import count
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.client import RegistryClient
    from regsetup.contents.deletion import Done, Removal
    from regsetup.contents.reclaim import Estimate
    from regsetup.contents.repository import Contents
    from regsetup.contents.retention import Rules
    from regsetup.reference import Digest, Reference


class NotConfirmed(UsageError):
    """Something would be deleted, and nobody can be asked."""

    code = "deletion-needs-yes"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"rm would delete {what}, and there is no terminal to ask on; nothing was deleted",
            fix="look at it with --dry-run, then add -y",
        )


class NothingNamed(UsageError):
    """Neither an image nor a rule, or a rule and no repository."""

    code = "nothing-named"

    def __init__(self, why: str) -> None:
        super().__init__(
            why,
            fix="regsetup rm NAME:TAG, or by a rule, which --keep, --older-than and --match make: "
            "regsetup rm NAME --keep 5",
        )


class SeveralRegistries(UsageError):
    """The images are in different registries."""

    code = "several-registries"

    def __init__(self) -> None:
        super().__init__("these references lead to different registries", fix="one rm for each registry")


class NotCollectable(UsageError):
    """``--gc`` for a registry that is not on this machine."""

    code = "not-collectable"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"--gc collects registries of this machine, and {address} is none",
            fix="collect it where it runs: regsetup gc, or registry garbage-collect",
        )


class LeftAlone(RegsetupError):
    """Something changed between the look and the deletion; it was left as it is."""

    code = "left-alone"
    exit_code = 3

    def __init__(self, what: str) -> None:
        super().__init__(what, cause="it was left as it is", fix="look again: regsetup rm --dry-run")


Keep = Annotated[
    int | None,
    typer.Option("--keep", metavar="N", min=0, help="Rule: all but the N newest images of a repository."),
]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Rule: made longer ago than 30d (s, m, h, d, w)."),
]
Match = Annotated[
    str | None,
    typer.Option("--match", metavar="PATTERN", help="Rule: tags like 'pr-*'."),
]


@dataclass(slots=True)
class Order:
    """What is to be looked at: tags and digests by repository; with a rule all tags of each."""

    wanted: dict[str, list[str | Digest]]
    rules: Rules


@dataclass(slots=True)
class Found:
    """What was decided for one repository; ``kept`` says why a tag that a rule could take stays."""

    contents: Contents
    removal: Removal
    kept: dict[str, str] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "rm")(rm)


@remote.reaching
def rm(
    way: remote.Way,
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REF]...",
            help="NAME:TAG or NAME@DIGEST; with a rule NAME.",
            autocompletion=completion.reference,
        ),
    ] = None,
    keep: Keep = None,
    older_than: OlderThan = None,
    match: Match = None,
    every: Annotated[bool, typer.Option("--all", help="Apply the rule to every repository.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    collect: Annotated[
        bool, typer.Option("--gc", help="Then collect the disk space (a registry of this machine).")
    ] = False,
    yes: options.Yes = False,
) -> render.Outcome:
    """Delete tags and images: by name, or by a rule. Shows what goes with them, and asks.

    A tag goes alone where others have the same image. An image goes with its platforms and what refers
    to it, but never with what another image needs. Rules combine: a tag goes if all of them say so.
    `latest` stays unless it is named. Disk comes back with --gc, or a later `regsetup gc`.

    Example: regsetup rm team/app --match 'pr-*' --older-than 30d
    """
    from regsetup.contents import retention

    age = retention.parse_age(older_than) if older_than is not None else None
    rules = retention.Rules(keep, age, match)
    references = _references(refs or [], rules, every=every)
    with way.to(references[0] if references else None) as reached:
        if collect and reached.place.local is None:
            raise NotCollectable(reached.place.address)
        order = _order(reached, references, rules, every=every)
        found = list(_decide(reached.client, order))
        sure = _estimate(reached.client, found)
        lines, data = _told(found, sure, dry_run=dry_run), _data(found, sure)
        data = {"registry": reached.place.address, "dry_run": dry_run, **data}
        if dry_run or not any(one.removal.tags or one.removal.images for one in found):
            return render.Outcome(data, lines)
        if not yes and not _confirmed(found, lines):
            return render.Outcome(data, ("nothing was deleted",), code=1)
        done = list(_apply(reached.client, found))
        local = reached.place.local
    left = tuple(LeftAlone(text) for one in done for text in one.left)
    data |= {"left": [text for one in done for text in one.left]}
    outcome = render.Outcome(data, lines, changed=True, code=3 if left else 0, errors=left)
    return _collected(outcome, local.paths.name) if collect and local else outcome


def _references(refs: list[str], rules: Rules, *, every: bool) -> list[Reference]:
    """Read the arguments and refuse what can't be meant."""
    from regsetup.reference import Reference

    found = [Reference.parse(ref) for ref in refs]
    if len({one.registry for one in found}) > 1:
        raise SeveralRegistries
    if not found and not every:
        raise NothingNamed("it is not said what is to be deleted")
    if every and (found or not rules.given):
        raise NothingNamed("--all goes with a rule, and without names")
    for ref, one in zip(refs, found, strict=True):
        if rules.given and (one.tag or one.digest):
            raise NothingNamed(f"{ref!r} names an image, and a rule is for a repository")
        if not rules.given and not (one.tag or one.digest):
            raise NothingNamed(f"{ref!r} names a repository, not an image")
    return found


def _order(reached: remote.Reached, references: list[Reference], rules: Rules, *, every: bool) -> Order:
    from regsetup.contents import listing

    wanted: dict[str, list[str | Digest]] = {}
    for name in listing.askable(reached.client) if every else ():
        wanted[name] = []
    for one in references:
        wanted.setdefault(reached.repository(one), []).extend(filter(None, [one.digest or one.tag]))
    return Order(wanted, rules)


def _decide(client: RegistryClient, order: Order) -> Iterator[Found]:
    """Look at each repository and decide what goes."""
    from regsetup.contents.deletion import find, plan
    from regsetup.contents.inspection import NoSuchRepository
    from regsetup.contents.repository import gather

    for repository, targets in order.wanted.items():
        try:
            contents = gather(client, repository)
        except NoSuchRepository:
            if targets or len(order.wanted) == 1:
                raise
            continue  # registry:2 lists what it has not any more
        if order.rules.given:
            yield _by_rule(client, contents, order.rules)
            continue
        digests = []
        for target in targets:
            there = find(client, contents, target)
            digests += [] if isinstance(target, str) else [there]
        yield Found(contents, plan(contents, [one for one in targets if isinstance(one, str)], digests))


def _by_rule(client: RegistryClient, contents: Contents, rules: Rules) -> Found:
    from datetime import UTC, datetime

    from regsetup.contents.deletion import plan
    from regsetup.contents.repository import dates
    from regsetup.contents.retention import Tagged, judge

    made = dates(client, contents) if rules.need_dates else {}
    tags = [Tagged(tag, there, made.get(there)) for tag, there in sorted(contents.tags.items())]
    verdicts = judge(tags, rules, datetime.now(UTC))
    removal = plan(contents, [one.tagged.tag for one in verdicts if one.goes], ())
    return Found(contents, removal, {one.tagged.tag: one.reason for one in verdicts if not one.goes})


def _estimate(client: RegistryClient, found: list[Found]) -> Estimate:
    from regsetup.contents.reclaim import estimate

    return estimate(client, [(one.contents, one.removal) for one in found])


def _apply(client: RegistryClient, found: list[Found]) -> Iterator[Done]:
    from regsetup.contents.deletion import apply

    for one in found:
        yield apply(client, one.contents, one.removal)


def _confirmed(found: list[Found], lines: tuple[str, ...]) -> bool:
    what = _counted(found)
    if render.style.json or not sys.stdin.isatty():
        raise NotConfirmed(what)
    for line in lines:
        render.err().print(line, markup=False)
    return typer.confirm(f"Delete {what}?", err=True)


def _counted(found: list[Found]) -> str:
    tags = sum(len(one.removal.tags) for one in found)
    images = sum(len(one.removal.images) for one in found)
    return " and ".join(count(n, noun) for n, noun in ((tags, "tag"), (images, "manifest")) if n)


def _told(found: list[Found], sure: Estimate, *, dry_run: bool) -> tuple[str, ...]:
    """Say what goes, what stays though a rule was asked, and how much disk may come back."""
    from rich.filesize import decimal

    lines = [line for one in found for line in _told_of(one)]
    if not any(one.removal.tags or one.removal.images for one in found):
        return (*lines, "nothing to do: nothing is to be deleted")
    size = decimal(sure.size) if sure.exact else f"at most {decimal(sure.size)}"
    return (*lines, f"{size} {'could be' if dry_run else 'can be'} freed by a collection: regsetup gc")


def _told_of(found: Found) -> Iterator[str]:
    removal, name = found.removal, found.removal.repository
    for tag, digest in removal.untag.items():
        yield f"tag      {name}:{tag}  ({digest} stays: it is needed)"
    for digest, tags in removal.images.items():
        said = ", ".join(f"{name}:{tag}" for tag in tags)
        kind = "image  " if digest in removal.named else "with it"
        yield f"{kind}  {name}@{digest}" + (f"  {said}" if said else "")
    for tag, reason in found.kept.items():
        yield f"stays    {name}:{tag}  ({reason})"
    if removal.unsure:
        yield f"note     parts of images stay, since {', '.join(removal.unsure)} can't be read"


def _data(found: list[Found], sure: Estimate) -> dict[str, Any]:
    return {
        "size": sure.size,
        "size_is_exact": sure.exact,
        "repositories": [
            {
                "repository": one.removal.repository,
                "untagged": {tag: str(digest) for tag, digest in one.removal.untag.items()},
                "deleted": [
                    {"digest": str(digest), "tags": list(tags), "named": digest in one.removal.named}
                    for digest, tags in one.removal.images.items()
                ],
                "kept": one.kept,
            }
            for one in found
        ],
    }


def _collected(outcome: render.Outcome, name: str) -> render.Outcome:
    """Collect, and add what that says."""
    done = collecting.gc(name=name)
    return render.Outcome(
        {**outcome.data, "gc": dict(done.data)},
        (*outcome.lines, *done.lines),
        changed=True,
        code=outcome.code or done.code,
        errors=(*outcome.errors, *done.errors),
    )
