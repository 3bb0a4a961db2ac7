"""The short way through Numba's compiler: same answers as the long one, and no more than was meant."""

import contextlib
import enum
import gc
import inspect
import re

import numba
import numpy as np
import pytest
from numba.core import compiler, interpreter, typed_passes, typeinfer
from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary
from numba.core.lowering import Lower
from numba.core.runtime.nrt import rtsys

from kernels import atomics, guest, locks, numba_known, short_compiler, words
from kernels.compiling import for_python, kernel


class Colour(enum.IntEnum):
    RED = 3
    BLUE = 1 << 40


BIG = -7046029254386353131


@kernel
def names(word):
    """Constants of all kinds: of a module, of an enum, plain, negative, wider than 32 bits, shadowed."""
    BIG_TOO = word
    if word == Colour.RED:
        return locks.PRIORITY
    if word == Colour.BLUE:
        return words.TDHP
    for index in range(4):
        if word == index - 2:
            BIG_TOO = index
    return BIG_TOO ^ BIG


def numbas_own(function):
    """A kernel by Numba's pipeline, which wants what counts references; kernels do without."""
    rtsys.initialize(numba.core.registry.cpu_target.target_context)
    return numba.njit(function.py_func, error_model="numpy")


@pytest.mark.parametrize("word", [3, 1 << 40, -2, 0, 1, 77, BIG, -1])
def test_names_of_numbers_mean_what_they_mean_in_python(word):
    assert for_python(names)(word) == names.py_func(word)


@pytest.mark.parametrize("function", [guest.mix, guest.signature], ids=lambda one: one.__name__)
def test_a_kernel_answers_as_numbas_own_pipeline_does(function):
    ours = for_python(function)
    theirs = numbas_own(function)
    count = len(inspect.signature(function.py_func).parameters)
    for row in np.random.default_rng(1).integers(-2**63, 2**63 - 1, (200, count)).tolist():
        assert ours(*row) == theirs(*row)


@kernel
def inner(word):
    return word + 1


@kernel
def middle(word):
    return inner(word) * 2


@kernel
def outer(word):
    return middle(word) + inner(word)


def test_kernels_of_kernels_are_in_the_entry_and_have_no_machine_code_of_their_own():
    function = for_python(outer)
    assert function(5) == 18
    for one in (inner, middle):
        [result] = one.overloads.values()
        code = result._asdict()["library"]
        assert isinstance(code, short_compiler.KernelLibrary)
        assert not code.codegen._engine.is_symbol_defined(result.fndesc.llvm_func_name)


def test_a_kernel_takes_its_arguments_and_returns_its_value_and_no_more():
    for_python(outer)(5)
    [result] = inner.overloads.values()
    [function] = [one for one in result._asdict()["library"]._final_module.functions if not one.is_declaration]
    assert re.search(r"define linkonce_odr i64 @\S+\(i64 [^,]+\)", str(function)), function


@kernel
def between(least, word, most):
    return max(least, min(word, most))


@pytest.mark.parametrize("word", [-1, 0, 3, 5, 9, 1 << 62])
def test_min_and_max_are_those_of_python(word):
    assert for_python(between)(0, word, 5) == between.py_func(0, word, 5)


set_late = atomics.bit_set64(33)


@kernel
def uses_an_intrinsic_of_its_own(address):
    return set_late(address)


def test_an_intrinsic_that_is_made_late_is_known_too():
    numba_known.load()
    word = np.zeros(1, np.uint64)
    assert for_python(uses_an_intrinsic_of_its_own)(word.ctypes.data) == 0
    assert word[0] == 1 << 33


def test_nothing_is_looked_for_in_numba_once_it_is_loaded(monkeypatch):
    """By default each function, intrinsic and attribute looks whether any part of Numba has learnt something."""
    for_python(middle)(3)
    contexts = numba.core.typing.Context, numba.core.cpu.CPUContext
    for one in contexts:
        monkeypatch.setattr(one, "load_additional_registries", lambda self: pytest.fail("looks for more"))
    for_python(kernel(lambda word: word + 7))(3)


def test_what_is_remembered_of_an_operator_is_what_numba_says_of_it():
    for_python(kernel(names.py_func))(1)
    context = numba.core.registry.cpu_target.typing_context
    assert len(short_compiler.RememberingContext.known) >= 5
    for (function, arguments), signature in short_compiler.RememberingContext.known.items():
        assert context.resolve_function_type(function, arguments, {}) == signature


def needs_a_closure(word):
    def add(other):
        return word + other
    return add(1)


def needs_an_array(word):
    return np.zeros(word).sum()


def needs_a_list(word):
    return len([index for index in range(word)])


def needs_a_context(word):
    with contextlib.nullcontext():
        return word


def needs_a_float(word):
    kept = word
    if word > 3:
        kept = np.uint64(word)
    return kept & 1


@pytest.mark.parametrize("function", [needs_a_closure, needs_an_array, needs_a_list, needs_a_context, needs_a_float],
                         ids=lambda one: one.__name__)
def test_source_that_needs_what_is_left_out_does_not_compile(function):
    with pytest.raises(numba.core.errors.NumbaError):
        for_python(kernel(function))(3)


def test_numba_still_has_the_insides_that_the_short_way_replaces():
    """Each is called by Numba under this name; under another it would go its long way, silently."""
    for name in ("_linking_libraries", "_get_module_for_linking", "_optimize_final_module"):
        assert name in inspect.getsource(CPUCodeLibrary.finalize)
    assert "_finalized" in inspect.getsource(CPUCodeLibrary._ensure_finalized)
    assert "self.add_llvm_module(ll_module)" in inspect.getsource(CPUCodeLibrary.add_ir_module)
    assert "no_compile" in inspect.getsource(typed_passes.BaseNativeLowering.run_pass)
    assert "library is None" in inspect.getsource(typed_passes.BaseNativeLowering.run_pass)
    assert "make_function" in inspect.getsource(numba.core.cpu.CPUContext.get_executable)
    assert JITCodeLibrary in short_compiler.KernelLibrary.__mro__
    assert "_optimize_functions(" in inspect.getsource(CPUCodeLibrary.add_llvm_module)
    assert "_compile_core" in inspect.getsource(compiler.CompilerBase._compile_bytecode)
    for name in ("lower_binop", "lower_getitem", "lower_setitem"):
        theirs, ours = (inspect.signature(getattr(one, name)) for one in (Lower, short_compiler.KernelLower))
        assert len(theirs.parameters) == len(ours.parameters)
        assert f"self.{name}(" in inspect.getsource(Lower)


def test_garbage_is_collected_again_after_a_compilation_and_after_one_that_fails():
    for_python(middle)(3)
    assert gc.isenabled()
    with pytest.raises(numba.core.errors.NumbaError):
        for_python(kernel(needs_a_list))(3)
    assert gc.isenabled()


# What Numba runs by default and the short way does not; a pass that is in neither list is new.
LEFT_OUT = {
    "IRProcessing", "WithLifting", "InlineClosureLikes", "RewriteSemanticConstants", "DeadBranchPrune", "GenericRewrites",
    "RewriteDynamicRaises", "MakeFunctionToJitFunction", "InlineInlinables", "FindLiterallyCalls",
    "LiteralUnroll", "LiteralPropagationSubPipelinePass", "InlineOverloads", "NopythonRewrites",
    "NoPythonSupportedFeatureValidation", "DumpParforDiagnostics", "IRLegalization", "AnnotateTypes", "ReconstructSSA", "PreLowerStripPhis",
}


def test_every_pass_of_numba_is_either_taken_or_left_out_on_purpose():
    instead = {"TranslateByteCode": "ReadByteCode", "NopythonTypeInference": "InferTypes", "NativeLowering": "LowerKernel"}
    long = [instead.get(name, name) for name in passes_of_numba()]
    for entry in (False, True):
        short = [type(step).__name__ for step in short_compiler.passes(entry)]
        own = {"LookUpNames", "LeaveForEntries"}
        assert {name for name in long if name not in short} == LEFT_OUT
        assert [name for name in long if name in short] == [name for name in short if name not in own]


def passes_of_numba() -> list[str]:
    target = numba.core.registry.cpu_target
    flags = compiler.Flags()
    one = compiler.Compiler(target.typing_context, target.target_context, None, (), None, flags, {})
    one.state.func_id = numba.core.bytecode.FunctionIdentity.from_function(needs_a_list)
    [manager] = one.define_pipelines()
    return [step.__name__ for step, _ in manager.passes]


def test_numba_still_works_as_what_is_taken_out_of_it_supposes():
    """Each of these is called, or is given what it is given, in this way by Numba."""
    assert "self.post_process(peepholes, func_ir)" in inspect.getsource(interpreter.Interpreter.interpret)
    assert "self.constraints.propagate(self)" in inspect.getsource(typeinfer.TypeInferer.propagate)
    assert "self.constraints = ConstraintNetwork()" in inspect.getsource(typeinfer.TypeInferer.__init__)
    assert "self._find_singly_assigned_variable()" in inspect.getsource(Lower.init)
    assert "self.call_conv.return_value(" in inspect.getsource(Lower.lower_inst)
    assert "lower.lower()" in inspect.getsource(typed_passes.BaseNativeLowering.run_pass)
    assert "self.call_conv.get_function_type(" in inspect.getsource(numba.core.base.BaseContext.declare_function)
    for call in ("self.lower_block(block)", "self.alloca_lltype(", "self.storevar("):
        assert call in inspect.getsource(Lower) + inspect.getsource(Lower.__mro__[1])
    for name in ("lower_block", "alloca_lltype", "storevar"):
        assert inspect.signature(getattr(Lower, name)) == inspect.signature(getattr(short_compiler.KernelLower, name))


@kernel
def several_times(word, flag):
    """A variable that is a bool, an int of 32 bits and one of 64 in turn, and one that is not set on every way."""
    kept = flag
    if word > 5:
        kept = np.uint32(word)
    for index in range(3):
        if index == word:
            late = kept + index
    if word == 2:
        kept = late << 40
    return kept - word


@pytest.mark.parametrize("word", [-3, 0, 1, 2, 3, 6, 1 << 40])
def test_a_variable_may_be_set_in_several_places(word):
    ours, theirs = for_python(several_times), numbas_own(several_times)
    for flag in (False, True):
        assert ours(word, flag) == theirs(word, flag)


@kernel
def begins_with_a_loop(word, least):
    """A first block that is come back to; variables of it that are used in others; conditions that are no bools."""
    while word:
        last = word
        if word & 4 and not word & 1:
            least += last
        word = word >> 1 if word > 0 else word + 1
    return least - last


@pytest.mark.parametrize("word", [1, 4, 6, 77, 1 << 40, -3])
def test_a_variable_of_the_first_block_is_known_in_all_others(word):
    assert for_python(begins_with_a_loop)(word, 5) == begins_with_a_loop.py_func(word, 5)


@kernel
def either(word, least, most):
    if word:
        return least
    return most


def test_what_is_set_once_and_first_needs_no_memory():
    for_python(kernel(lambda word: either(word, 1, 2)))(1)
    [result] = either.overloads.values()
    assert "alloca" not in str(result._asdict()["library"]._final_module)


@kernel
def elements(numbers, small, at):
    """Reads and writes by indexes of both kinds, of an array of other numbers too, and from its end."""
    numbers[at] = numbers[-1] + small[np.uint32(1)]
    small[at - 2] = numbers[at] >> 3
    return numbers[np.uint32(2)] + small[-2]


def test_elements_of_arrays_are_those_that_python_finds():
    def run(function, at):
        numbers, small = np.array([1 << 50, -9, 77, 5]), np.array([200, 7, 65535], np.uint16)
        return function(numbers, small, at), numbers.tolist(), small.tolist()
    for at in range(-1, 4):
        assert run(for_python(elements), at) == run(numbas_own(elements), at)


@kernel
def second_of(numbers):
    return numbers[1]


def test_an_element_is_found_without_storing_what_is_known_of_its_array():
    for_python(kernel(lambda numbers: second_of(numbers)))(np.arange(3))
    [result] = second_of.overloads.values()
    assert "store" not in str(result._asdict()["library"]._final_module)
