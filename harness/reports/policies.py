"""The policies as a person reads them, hosts' and guests': what each means, what it answers where, and its source."""

import json


from harness.errors import UsageError, meant
from harness.protocol import guest_policies
from harness.protocol.policies import BY_NAME, POLICIES, Policy
from harness.protocol.policy import SITES, SWITCHES
from harness.reports.text import formatted, laid_out, wrap


def policy_report(names: list[str] = (), style: str = "table") -> str:
    """A table of what each policy means; then each in full; then the switches.  Of those that are named, each in full.

    Raises UsageError for a name that no policy has.
    """
    for name in names:
        if name not in BY_NAME:
            raise UsageError(f"{name}: no such policy; {meant(name, BY_NAME)}known: {', '.join(BY_NAME)}")
    chosen = [BY_NAME[name] for name in names] or POLICIES
    if style == "json":
        return json.dumps([_plain(policy) for policy in chosen], indent=1)
    if style != "table":
        return formatted([{"policy": policy.name, "meaning": policy.meaning, **dict(_rows(policy)), "source": policy.source}
                          for policy in chosen], style, words=tuple(range(40)))
    if names:
        return "\n\n".join(_in_full(policy) for policy in chosen)
    parts = [laid_out(["policy", "on TDX_OPERAND_BUSY"], [[policy.name, policy.meaning] for policy in POLICIES]), ""]
    for policy in POLICIES:
        parts += [_in_full(policy), ""]
    parts.append(laid_out(["switch", "default", "meaning"],
                          [[switch.name, _as_written(switch.default), switch.meaning] for switch in SWITCHES]))
    return "\n".join(parts)


def _rows(policy: Policy) -> list[tuple[str, str]]:
    """What a policy answers where, and its switches that are not the usual ones."""
    rows = [(site, str(policy.ladder(site))) for site in SITES if site != "zero_step" or policy.zero_step]
    rows += [(switch.name, _as_written(value)) for switch in SWITCHES
             if (value := getattr(policy, switch.name)) != switch.default]
    if policy.also:
        rows.append(("also named", policy.also))
    if policy.breaks:
        rows.append(("may break", ", ".join(policy.breaks)))
    return rows


def _in_full(policy: Policy) -> str:
    return "\n".join([wrap(f"{policy.name}: {policy.meaning}"), laid_out(["", ""], _rows(policy), form="plain"),
                      wrap(f"source: {policy.source}")])


def _plain(policy: Policy) -> dict:
    """A policy for programs: in the words of configs, every site and switch."""
    return {"name": policy.name, "meaning": policy.meaning, "also": policy.also, "source": policy.source,
            "may_break": list(policy.breaks), "sites": {site: str(policy.ladder(site)) for site in SITES},
            "switches": {switch.name: getattr(policy, switch.name) for switch in SWITCHES}}


def guest_report(style: str = "table") -> str:
    """A table of what each guest does, answer by answer; then each with its source."""
    sites = guest_policies.SITES
    if style != "table":
        return formatted([{"guest": guest.name, "meaning": guest.meaning, **{site: guest.words(site) for site in sites},
                           "one at a time": "yes" if guest.one_at_a_time else "no", "sizes": guest.sizes(), "at boot": guest.at_boot(), "source": guest.source}
                          for guest in guest_policies.GUESTS], style, words=tuple(range(40)))
    table = [(guest.name, *(wrap(guest.words(site), 14).replace("\n   ", "\n") for site in sites))
             for guest in guest_policies.GUESTS]
    headers = ("guest", *(site.replace("_2m", "\n2 MiB").replace("_4k", "\n4 KiB") for site in sites))
    parts = [laid_out(list(headers), table), ""]
    parts += [wrap(f"{heading}: {status}") for heading, status in guest_policies.STATUS.items()]
    for guest in guest_policies.GUESTS:
        parts += ["", wrap(f"{guest.name}: {guest.meaning}" + "; vCPUs accept the same page at once" * (not guest.one_at_a_time)),
                  wrap(f"tries {guest.sizes()}; accepts memory at boot: {guest.at_boot()}"),
                  wrap(f"source: {guest.source}")]
    return "\n".join(parts)


def _as_written(value) -> str:
    """A switch's value as a config writes it."""
    if isinstance(value, tuple):
        return ", ".join(value) or "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
