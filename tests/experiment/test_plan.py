"""Plans: the program is written once, and what it names lies where the plan's layout says."""

import pytest

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


@pytest.mark.parametrize("vcpus, hosts, tds, processors", [(1, 1, 4, 2), (1, 3, 4, 2), (2, 1, 4, 2), (2, 1, 6, 4), (4, 2, 8, 4),
                                                           (1, 1, 4, 16)])
def test_the_host_threads_of_several_tds_do_not_all_share_a_processor(vcpus, hosts, tds, processors):
    plan = make_plan(config(td={"count": tds, "vcpus": vcpus}, workload={"hosts": hosts}))
    places = {actor: plan.processor_of(actor, processors) for actor in plan.actors}
    each = [list(places.values()).count(processor) for processor in range(processors)]
    assert max(each) - min(each) <= 1
    of_hosts = {places[actor] for actor in plan.actors if actor.kind == "host"}
    assert len(of_hosts) >= min(processors, hosts * tds) // 2 + 1
