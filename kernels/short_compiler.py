"""A short way through Numba's compiler, for sources as plain as the kernels are.

Numba compiles any Python function; a kernel is integers, arrays of them, loops, and calls of other
kernels.  Most of what compiling one costs by default is spent on what a kernel cannot have, and on
optimizing and loading dozens of functions that are never called as such, as all are inlined.
So there are seven differences:

* Passes that only matter to closures, generators, array expressions, literals, reference counts (where a
  variable dies) and the like are left out.  Source that needs one does not compile.  So is the static single
  assignment form: a variable of a kernel has one type wherever it is set, and LLVM makes that form itself.
* A name that stands for a number (locks.BUSY, Op.LOAD), or for something in a module, is looked up
  once, before types are inferred, and a number is then an ordinary 64-bit integer.  By default an
  IntEnum member has a type of its own, and each integer another one; each comparison with them
  walks through the overloads of == again.
* What an operator or an intrinsic makes of integers is worked out once and remembered, not at every + again; so
  is which code an operator is.
* What is said of each instruction for errors, warnings and debuggers (where it is, how large a variable is) is not.
* A kernel is translated to LLVM's language, tidied and left there.  LLVM optimizes, and makes machine
  code of, an entry with all its kernels inside: once, not once for each kernel on the way.
* One pass manager tidies all functions of a module, and no garbage is collected until an entry is compiled.
* Tuples and arrays are handed from kernel to kernel as they are.  By default a tuple of arrays is taken to pieces at each
  call, several hundred numbers, and put together again in what is called, only to be inlined.

All of this leans on insides of Numba, which is pinned exactly (pyproject.toml);
tests/kernels/test_short_compiler.py notices when they have changed.
"""

import enum
import functools
import gc
import importlib
import operator
import sys
import types as python_types

from numba import _dynfunc
from numba import extending
from numba.core import cgutils, errors, interpreter, ir, typed_passes, typeinfer, types, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.lowering import Lower
from numba.core.datamodel import models, register_default
from numba.core.compiler_machinery import FunctionPass, LoweringPass, register_pass
from numba.core.ir_utils import build_definitions
from numba.core.targetconfig import ConfigStack

from kernels.compiling import Deferred

NAMESPACES = (python_types.ModuleType, enum.EnumMeta)    # their attributes do not change
PLAIN = (types.Integer, types.Boolean)                   # no literals: those have types of their own


@functools.cache
def _without_blas() -> None:
    """Load the part of Numba that looks for SciPy's BLAS while there seems to be none.

    No kernel multiplies matrices, and finding out that it could takes half a second of every process that compiles.
    """
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = None
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            del sys.modules[blas]


class HandedWhole:
    """How a type's values are given to a function: as one value."""

    def get_argument_type(self):
        return self.get_value_type()

    def as_argument(self, _builder, value):
        return value

    from_argument = as_argument


for of_numba, of_types in ((models.TupleModel, [types.NamedTuple]), (models.ArrayModel, [types.Array]),
                           (models.UniTupleModel, [types.UniTuple, types.NamedUniTuple])):
    for each in of_types:
        register_default(each)(type(f"Whole{of_numba.__name__}", (HandedWhole, of_numba), {}))


class KernelInterpreter(interpreter.Interpreter):
    """Numba's reader of bytecode, without its search for what a `with`, a `try` and a dict leave behind."""

    def post_process(self, _peepholes, func_ir):
        return super().post_process((interpreter.peep_hole_list_to_tuple,
                                     interpreter.peep_hole_call_function_ex_to_call_function_kw), func_ir)


class ReadByteCode(FunctionPass):
    """From Python's bytecode to Numba's instructions."""

    _name = "kernels_read_byte_code"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        state.func_ir = KernelInterpreter(state.func_id).interpret(state.bc)
        state.func_ir.generator_info = None
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class LookUpNames(FunctionPass):
    """Put the value in place of each name of a number, and of each attribute of a namespace."""

    _name = "kernels_look_up_names"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        values, new = {}, False
        for block in state.func_ir.blocks.values():
            for assignment in block.find_insts(ir.Assign):
                right = assignment.value
                if isinstance(right, (ir.Global, ir.FreeVar)):
                    value = right.value
                    if isinstance(value, Deferred):
                        new, value = new or not value.is_made, value.made
                        assignment.value = ir.Global(right.name, value, right.loc)
                elif isinstance(right, ir.Const):
                    value = right.value
                    if type(value) is not int:
                        continue
                elif isinstance(right, ir.Expr) and right.op == "getattr" and right.value.name in values:
                    value = getattr(values[right.value.name], right.attr)
                    if isinstance(value, Deferred):
                        new, value = new or not value.is_made, value.made
                else:
                    continue
                if isinstance(value, int) and not isinstance(value, bool):
                    assignment.value = ir.Const(int(value), right.loc, use_literal_type=False)
                elif isinstance(right, ir.Expr):
                    assignment.value = ir.Global(right.attr, value, right.loc)
                if isinstance(value, NAMESPACES):
                    values[assignment.target.name] = value
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        if new:                                          # an intrinsic: a context finds new ones when it is refreshed
            state.typingctx.refresh()
            state.targetctx.refresh()
        return True


class RememberingContext:
    """Numba's typing context, but what an operator or an intrinsic makes of integers is worked out once.

    By default each + walks through all overloads of +, and each intrinsic through all registries of Numba.
    """

    known = {}                       # signature, by operator and types of operands

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, function, arguments, keywords):
        if keywords or not is_remembered(function) or not all(type(one) in PLAIN for one in arguments):
            return self._context.resolve_function_type(function, arguments, keywords)
        key = function, tuple(arguments)
        if key not in self.known:
            self.known[key] = self._context.resolve_function_type(function, arguments, keywords)
        return self.known[key]


def is_remembered(function) -> bool:
    """Whether Numba's type of a function is that of an operator, of an intrinsic, or of the bool() behind each `if`."""
    if not isinstance(function, types.Function):
        return False
    key = function.typing_key
    return key is bool or isinstance(key, extending._Intrinsic) or getattr(key, "__module__", "") == "_operator"


class KernelConstraints(typeinfer.ConstraintNetwork):
    """What Numba knows of the types of a kernel's variables, without a search for warnings at each instruction."""

    def propagate(self, inferer):
        failed = []
        for constraint in self.constraints:
            try:
                constraint(inferer)
            except errors.TypingError as problem:
                failed.append(problem)
        return failed


class InferTypes(FunctionPass):
    """Numba's inference of types."""

    _name = "kernels_infer_types"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        inferer = typeinfer.TypeInferer(state.typingctx, state.func_ir, errors.WarningsFixer(errors.NumbaWarning))
        inferer.constraints = KernelConstraints()
        with state.typingctx.callstack.register(state.targetctx.target, inferer, state.func_id, state.args):
            for index, (name, type_) in enumerate(zip(state.func_ir.arg_names, state.args)):
                inferer.seed_argument(name, index, type_)
            inferer.build_constraint()
            inferer.propagate()
            state.typemap, state.return_type, state.calltypes = inferer.unify(raise_errors=True)
        for name, type_ in state.typemap.items():        # what a variable has to be that is set to both
            if isinstance(type_, types.Float):
                raise errors.TypingError(f"{name} is floating point: signed and unsigned are mixed", loc=state.func_ir.loc)
        return True


class KernelLower(Lower):
    """Numba's translation to LLVM's language, but which code an operator is, is looked up once for each types.

    By default each + and each [] walks through all overloads again, although typing has just done that.
    """

    known = {}                       # code, by operator and types of operands

    def pre_lower(self):
        super().pre_lower()
        if self.flags.no_compile and not self.flags.forceinline:         # LLVM would inline what has one caller
            self.function.attributes.add("noinline")

    def lower_block(self, block):
        for instruction in block.body:
            self.loc = instruction.loc
            self.lower_inst(instruction)

    def alloca_lltype(self, name, lltype, datamodel=None):
        return cgutils.alloca_once(self.builder, lltype, name=name, zfill=False)

    def storevar(self, value, name, argidx=None):
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self._alloca_var(name, self.typeof(name))
            self.builder.store(value, self.getvar(name))

    def code_of(self, op, signature):
        function = self.context.typing_context.resolve_value_type(op)
        key = function, signature.args
        if key not in self.known:
            self.known[key] = function.get_call_type(self.context.typing_context, signature.args, {})
        return self.context.get_function(function, self.known[key])

    def operands(self, signature, *variables):
        return [self.context.cast(self.builder, self.loadvar(variable.name), self.typeof(variable.name), type_)
                for variable, type_ in zip(variables, signature.args)]

    def lower_binop(self, resty, expr, op):
        signature = self.fndesc.calltypes[expr]
        result = self.code_of(op, signature)(self.builder, self.operands(signature, expr.lhs, expr.rhs))
        return self.context.cast(self.builder, result, signature.return_type, resty)

    def lower_getitem(self, resty, expr, value, index, signature):
        result = self.code_of(operator.getitem, signature)(self.builder, self.operands(signature, value, index))
        return self.context.cast(self.builder, result, signature.return_type, resty)

    def lower_setitem(self, target, index, value, signature):
        return self.code_of(operator.setitem, signature)(self.builder, self.operands(signature, target, index, value))


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerKernel(typed_passes.NativeLowering):
    """Translate to LLVM's language."""

    _name = "kernels_lower"

    @property
    def lowering_class(self):
        return KernelLower


@register_pass(mutates_CFG=True, analysis_only=False)
class LeaveForEntries(LoweringPass):
    """Let callers find a kernel that has been translated, but has no machine code of its own."""

    _name = "kernels_leave_for_entries"

    def __init__(self):                                  # abstract in Numba
        super().__init__()

    def run_pass(self, state):
        lowered = state.cr
        description = lowered.fndesc
        name = description.qualname.split(".")[-1]
        no_address = 0                                   # Python cannot call a kernel, only an entry
        stand_in = _dynfunc.make_function(
            description.lookup_module(), name, "", no_address, lowered.env, (state["library"],))
        state.targetctx.insert_user_function(stand_in, description, [state["library"]])
        state.cr = lowered._replace(cfunc=stand_in)
        return True


class TidyLibrary(JITCodeLibrary):
    """An LLVM module, each function in it tidied by itself as everywhere in Numba, by one pass manager for all.

    By default a pass manager is made anew for each function, and for each name of a function of elsewhere.
    """

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self.codegen._data_layout
        passes, builder = self.codegen._function_pass_manager()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)


class KernelLibrary(TidyLibrary):
    """The LLVM module of one kernel: only for linking into entries.

    Each function in it is tidied by itself, as everywhere in Numba.  Without that `step`, once inside an
    entry, is no longer one jump by opcode, and a micro-op costs a tenth more.
    """

    def finalize(self):
        self._finalized = True


class EntryLibrary(TidyLibrary):
    """The LLVM module of an entry: takes in all kernels that it calls, and those that they call."""

    def finalize(self):
        libraries = list(self._linking_libraries)
        for library in libraries:                        # grows while it is walked
            if isinstance(library, KernelLibrary):
                libraries += [other for other in library._linking_libraries if other not in libraries]
        self._linking_libraries = libraries
        super().finalize()

    def _optimize_final_module(self):
        """Once and not twice, as nothing is counted that could be pruned in between; no loop of a kernel is for vectors."""
        passes, builder = self.codegen._module_pass_manager(opt=2, loop_vectorize=False, slp_vectorize=False)
        passes.run(self._final_module, builder)


@functools.cache
def passes(entry: bool) -> tuple:
    """What is done with a kernel, in turn."""
    return tuple(step() for step in (
        ReadByteCode, untyped_passes.FixupArgs, LookUpNames, InferTypes, typed_passes.NoPythonSupportedFeatureValidation, LowerKernel,
        *(() if entry else (LeaveForEntries,)), typed_passes.NoPythonBackend))


class KernelCompiler(CompilerBase):
    """The passes that a kernel needs; an entry is a kernel with a way in from Python."""

    def __init__(self, *given):
        _without_blas()
        super().__init__(*given)

    def _compile_core(self):
        """No garbage collection meanwhile: it would walk a growing tree of live objects again and again for nothing."""
        collecting = gc.isenabled()                      # not of a kernel inside an entry
        gc.disable()
        try:
            return self._through_passes()
        finally:
            if collecting:
                gc.enable()

    def _through_passes(self):
        state, is_entry = self.state, not self.state.flags.no_cpython_wrapper
        state.flags.no_compile = not is_entry
        made = (EntryLibrary if is_entry else KernelLibrary)(state.targetctx.codegen(), state.func_id.func_qualname)
        made.enable_object_caching()
        state["library"] = made
        state.typingctx = RememberingContext(state.typingctx)
        state.type_annotation = None
        with ConfigStack().enter(state.flags.copy()):
            for step in passes(is_entry):
                step.run_pass(state)
        return state.cr
