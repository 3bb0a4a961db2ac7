"""The command `schema`: JSON Schema of configs and scenarios, for editors and other programs."""

import json

from harness.errors import DONE

KINDS = {"config": "what run, sweep and nightly read", "scenario": "what explore reads as TOML"}


def add(parser) -> None:
    parser.add_argument("kind", nargs="?", choices=tuple(KINDS), default="config",
                        help="; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items()) + " (default: config)")


def do(options) -> int:
    from harness.experiment import schemas               # loads every model
    print(json.dumps(schemas.of_configs() if options.kind == "config" else schemas.of_scenarios(), indent=1))
    return DONE
