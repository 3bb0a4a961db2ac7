"""What KVM and the guest do around the SEAMCALLs, as programs.

Two kinds of actor.  A *vCPU* is a guest and the KVM thread that runs it:

    vcpu.py     KVM's outer loop, entry, refusal while entry is barred, leaving on a kick
    guest.py    touch a page through the vCPU's translations, walk the SEPT on a miss, ACCEPT
    guests.py   guests that do something else: a long string instruction, ACCEPT without end, MapGPA
    fault.py    KVM's handling of a private EPT violation, under mmu_lock read
    map_gpa.py  a conversion that the guest has asked for

A *host* thread takes memory back:

    host.py     why: a hole punched, a conversion, a memslot deleted, the VM torn down
    memslot.py  a memslot's end, with SRCU
    build.py    the TD built, its vCPUs created, and all of it taken apart
    reclaim.py  a TD gives way to a fresh one: the host's pages that it still has go back
    split.py    large pages added and split, again and again
    zap.py      how, under mmu_lock write: mirror entry away, BLOCK, TRACK, kick, REMOVE, page by page

    large.py    pages of 2 MiB: where KVM maps them, how it splits them, what it does about an ACCEPT of a part
    steps.py    one SEAMCALL of a removal or a split, and the bar against entry

    pamt.py     with no VM at all: get and put of Dynamic PAMT's page pairs, and a page's use between

    machine_check.py   with that fault: the probe a machine check makes, in a host thread's turn

Or either makes some calls, one after the other:

    script.py   the actors of a scenario

The words they are written with:

    flow.py        a kick, mmu_lock, KVM_BUG_ON, the end of a VM
    seam.py        a SEAMCALL as KVM makes it
    interrupts.py  a guest is interrupted, or leaves: the TD exit
    responses.py   a policy's responses to BUSY as micro-ops

What happens on BUSY is not written in any flow but in a policy.  A program holds only what its workload
and policy use.

Unless a comment says otherwise, what is said of KVM is Linux 6.16: arch/x86/kvm/vmx/tdx.c,
arch/x86/kvm/mmu/tdp_mmu.c, arch/x86/kvm/x86.c, virt/kvm/kvm_main.c.
"""

from harness.protocol.policy import Policy
from harness.protocol.assemble import Program
from harness.protocol.flows import fault, guest, guests, host, large, map_gpa, vcpu, zap
from harness.protocol.flows.flow import Behaviour, Flow
from harness.protocol.call import Options
from harness.protocol.seamcalls import write_calls


def write_program(options: Options, policy: Policy, hosts: int, seed: int = 0,
                  accept_first: float = 0.0, restart_on_bug: bool = False,
                  behaviour: Behaviour = Behaviour()) -> Program:
    """All flows of one TD under one policy, and all calls, linked.  See write_flows."""
    return write_flows(options, policy, hosts, seed, accept_first, restart_on_bug, behaviour).listing.program()


def write_flows(options: Options, policy: Policy, hosts: int, seed: int = 0,
                accept_first: float = 0.0, restart_on_bug: bool = False,
                behaviour: Behaviour = Behaviour(), calls=(), write_all: bool = True) -> Flow:
    """All flows of one TD under one policy, and all calls.  Actors begin at "vcpu" and "host".

    hosts            number of host threads
    seed             what page signatures are made of
    accept_first     share of first touches that ACCEPT beforehand
    restart_on_bug   build a fresh TD after a KVM_BUG_ON, instead of ending
    behaviour        what else the workload wants
    calls            further calls to be written, pairs of name and level
    write_all        whether the calls are written too; otherwise the caller writes them, Flow.calls and its own
    """
    flow = Flow(options, policy, hosts, seed, accept_first, restart_on_bug, behaviour)
    for name, write in (("vcpu", vcpu.write), ("guest", guest.write), ("guest", guests.write),
                        ("fault", fault.write), ("split", large.write), ("zap", zap.write), ("map_gpa", map_gpa.write),
                        ("host", host.write)):
        with flow.listing.within(flow=name):
            write(flow)
    if write_all:
        write_calls(flow.listing, options, [*flow.calls, *calls])
    return flow
