"""Plans: the program is written once, and what it names lies where the plan's layout says."""

from harness.experiment import plan as plans
from harness.experiment.plan import make_plan
from tests.stage import config


def test_a_plan_writes_its_program_once_and_no_place_that_it_names_depends_on_the_records(monkeypatch):
    written, write_program = [], plans.write_program

    def write(options, *arguments):
        written.append(options.layout)
        return write_program(options, *arguments)

    monkeypatch.setattr(plans, "write_program", write)
    plan = make_plan(config(td={"vcpus": 3, "count": 2}, workload={"hosts": 2}))
    [layout] = written
    assert layout.by_name["records"].stride == 0 and plan.layout.by_name["records"].stride >= 8 * plan.tables.words
    *others, records = plan.layout.regions
    assert records.name == "records" and layout.regions[:-1] == others
    assert (layout.td_stride, layout.shadow_delta) == (plan.layout.td_stride, plan.layout.shadow_delta)


def test_two_plans_of_one_config_are_the_same():
    one, other = make_plan(config(seed=7)), make_plan(config(seed=7))
    assert (one.program.rows == other.program.rows).all() and one.layout.regions == other.layout.regions
    assert all((a == b).all() for a, b in zip(one.choices, other.choices))
    assert [one.random_key(actor) for actor in one.actors] == [other.random_key(actor) for actor in other.actors]
